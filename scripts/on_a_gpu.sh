#!/usr/bin/env bash
# What only a GPU can show, the most valuable first, in 25 minutes and without a network:
#
#   scripts/on_a_gpu.sh              # given again, it goes on with the steps that are not done
#   scripts/on_a_gpu.sh --dry-run    # the steps in their order, and the seconds that each may take
#
# A step writes what it prints into results/gpu-<device>/<step>.txt, and its tables and pages where its command puts
# them: results/speed/<device>/, or results/gpu-<device>/ for a suite. A step that overruns its time is stopped, and
# comes again after those that were never tried. To do a step again, remove its .txt.
# MINUTES=9 gives all together another limit, DATA=path names the folder of the data sets, PYTHON=path the interpreter.
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} data=${DATA:-data} total=$((60 * ${MINUTES:-25}))
device=${DEVICE-$($python -c 'import torch; print(torch.cuda.get_device_name())' 2> /dev/null)}
slug=gpu-$(sed -E 's/[^a-z0-9]+/-/g; s/^-|-$//g' <<< "${device,,}")
out=${OUT:-results}/$slug base='torch tyro tqdm filelock PIL scipy torchvision'
suite="scripts/benchmark.py --data-root $data --device cuda --out runs/$slug --seeds 1 --jobs"

steps() {  # name|seconds|what it needs: modules, and files, which have a slash|the command after python
    cat "${STEPS:-/dev/stdin}" << END
tests|360|$base pytest xdist|-m pytest -q -n 4 tests/test_cuda.py
updates-images|300|$base|scripts/speed.py updates --datasets 32x32 --batch-sizes 64 --rounds 3 --device cuda
updates-points|180|$base|scripts/speed.py updates --datasets grid --batch-sizes 64 --rounds 3 --device cuda
result|300|$base|scripts/speed.py result --seeds 1 --data-root $data --device cuda
ablation|180|$base|scripts/speed.py ablation --algos nsgan wgan_gp r1 wgan --batch-sizes 64 --rounds 3 --device cuda
pacgan-stacked|600|$base matplotlib $data/MNIST/raw|$suite 4 pacgan-stacked
dual-d-ablations|400|$base matplotlib $data/MNIST/raw|$suite 9 dual-d-ablations
quick|400|$base matplotlib|$suite 8 quick
updates-64x64|300|$base|scripts/speed.py updates --datasets 64x64 --batch-sizes 64 --rounds 3 --device cuda
END
}

order=() skipped='' lacking=''
mapfile -t all < <(steps)
modules=$(cut -d'|' -f3 <<< "$(steps)" | tr ' ' '\n' | grep -v / | sort -u)
find='import sys, importlib.util as u; print(*[m for m in sys.argv[1:] if not u.find_spec(m)])'
missing=$($python -c "$find" $modules) || exit
for tried in no yes; do
    for step in "${all[@]}"; do
        IFS='|' read -r name _ needs _ <<< "$step"
        was=no lacks=''
        [ ! -e "$out/$name.stopped.txt" ] || was=yes
        [ ! -e "$out/$name.txt" ] && [ $was = $tried ] || continue
        for need in $needs; do
            if [[ $need == */* ]]; then [ -e "$need" ] || lacks+=" $need"
            elif [[ " $missing " == *" $need "* ]]; then lacks+=" $need"; fi
        done
        [ -z "$lacks" ] && order+=("$step") || skipped+=" $name" lacking+=$lacks
    done
done
[ -z "$skipped" ] || echo "missing: $(xargs -n 1 <<< "$lacking" | sort -u | xargs); skipped without it:$skipped"
if [ "${1:-}" = --dry-run ]; then
    for step in ${order[@]+"${order[@]}"}; do
        IFS='|' read -r name seconds _ command <<< "$step"
        echo "$name, at most $seconds s: python $command"
    done
    exit
fi
[ -n "$device" ] || { echo "there is no GPU that PyTorch of $python can use"; exit 1; }

mkdir -p "$out"
trap 'kill $! && wait; exit 130' INT TERM
for step in ${order[@]+"${order[@]}"}; do
    IFS='|' read -r name seconds _ command <<< "$step"
    left=$((total - SECONDS))
    [ $left -gt 0 ] || { echo "$name: no time is left for it"; continue; }
    [ $left -gt "$seconds" ] || seconds=$left
    began=$SECONDS part=$out/$name.part
    echo -e "python $command\n$device, revision $(git describe --always --dirty 2> /dev/null)\n" > "$part"
    timeout -k 20 "$seconds" $python $command >> "$part" 2>&1 < /dev/null &
    wait $! && status=0 || status=$?
    rm -f "$out/$name.stopped.txt"
    [ $status = 124 ] || [ $status = 137 ] && kept=$name.stopped.txt || kept=$name.txt
    echo -e "\nended with status $status after $((SECONDS - began)) s" | tee -a "$part" | sed "s/^e/$name: e/; /^\$/d"
    mv "$part" "$out/$kept"
    [ ! -d "runs/$slug/results" ] || cp -r "runs/$slug/results/." "$out"  # the tables of the suites
done
