#!/usr/bin/env bash
# One line of a file of commands for each task of a SLURM array; stopped or requeued, a task goes on where it was.
#
#   mkdir -p runs && python scripts/benchmark.py quick --dry-run > runs/quick.txt
#   sbatch --array=1-$(wc -l < runs/quick.txt)%64 scripts/slurm_array.sh runs/quick.txt
#   python scripts/benchmark.py quick       # when all have ended: collects them and writes the tables
#
#SBATCH --job-name=cleangan --output=runs/slurm-%A-%a.txt --open-mode=append
#SBATCH --gres=gpu:1 --cpus-per-task=2 --mem=8G --time=04:00:00
#SBATCH --requeue --signal=B:USR1@120
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
command=$(sed -n "${SLURM_ARRAY_TASK_ID:?start this with sbatch --array}p" "${1:?which file of commands?}")
[ -n "$command" ] || { echo "$1 has no line $SLURM_ARRAY_TASK_ID"; exit 1; }

# USR1 comes two minutes before the time is over, TERM if the task is cancelled or its node taken, after which SLURM
# itself queues it anew. Either way the run writes a checkpoint.
run='' over=''
trap 'over=1; [ -z "$run" ] || kill -TERM "$run" || :' USR1
trap '[ -z "$run" ] || kill -TERM "$run" || :' TERM
bash -c "exec env $command" &
run=$!
while :; do
    wait "$run" && status=0 || status=$?  # a signal ends the wait, not the run
    kill -0 "$run" 2> /dev/null || break
done
[ -z "$over" ] || [ "$status" = 0 ] || scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
exit "$status"
