#!/usr/bin/env bash
# One line of a file of commands for each task of a SLURM array; stopped or requeued, a task goes on where it was.
#
#   mkdir -p runs && python scripts/benchmark.py quick --dry-run > runs/quick.txt
#   sbatch --array=1-$(wc -l < runs/quick.txt)%64 scripts/slurm_array.sh runs/quick.txt
#   python scripts/benchmark.py quick       # when all have ended: collects them and writes the tables
#
#SBATCH --job-name=cleangan --output=runs/slurm-%A-%a.txt --open-mode=append
#SBATCH --gres=gpu:1 --cpus-per-task=2 --mem=8G --time=04:00:00
#SBATCH --requeue --signal=B:TERM@120
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
command=$(sed -n "${SLURM_ARRAY_TASK_ID:?start this with sbatch --array}p" "${1:?which file of commands?}")
[ -n "$command" ] || { echo "$1 has no line $SLURM_ARRAY_TASK_ID"; exit 1; }

# Before the time is over, or the node is taken, SLURM sends TERM: the run writes a checkpoint, the task is queued anew.
stopped=
trap 'stopped=1; kill -TERM "$run"' TERM
bash -c "exec env $command" &
run=$!
status=0
wait "$run" || status=$?
if [ -n "$stopped" ]; then
    wait "$run" || status=$?
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$status"
