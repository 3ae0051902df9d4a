"""Many runs: a SLURM array, which resumes what was stopped, and a sweep of W&B, whose flags the files take."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from conftest import ALGOS, ROOT

from common.args import parse

ARRAY = ROOT / "scripts" / "slurm_array.sh"


@pytest.fixture
def task(tmp_path):
    """task(n, commands): the process of task n of an array, with a scontrol that only writes down what it is told."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    (tmp_path / "scontrol.txt").touch()
    scontrol.write_text(
        f"#!/bin/sh\npgrep -f 'nsgan.py.*{tmp_path}' > /dev/null && when=before || when=after\n"
        f'echo "$@, $when the checkpoint" >> {tmp_path}/scontrol.txt\n'
    )
    scontrol.chmod(0o755)
    python = scontrol.with_name("python")
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)

    def start(n, commands):
        lines = tmp_path / "commands.txt"
        lines.write_text("".join(f"{command}\n" for command in commands))
        slurm = {"SLURM_ARRAY_TASK_ID": str(n), "SLURM_ARRAY_JOB_ID": "77", "SLURM_SUBMIT_DIR": str(ROOT)}
        environment = os.environ | slurm | {"PATH": f"{scontrol.parent}:{os.environ['PATH']}"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(["bash", ARRAY, lines], env=environment, **pipes)

    return start


def test_task_runs_its_line_and_ends_as_it_does(task):
    commands = ["A=1 python -c 'raise SystemExit(1)'", "A=2 python -c \"import os; print('a b', os.environ['A'])\""]
    process = task(2, commands)
    assert process.communicate(timeout=60)[0] == "a b 2\n" and process.returncode == 0
    process = task(1, commands)
    assert process.communicate(timeout=60)[0] == "" and process.returncode == 1
    process = task(3, commands)
    assert "has no line 3" in process.communicate(timeout=60)[0] and process.returncode == 1


@pytest.mark.parametrize("end", [signal.SIGUSR1, signal.SIGTERM], ids=["time is over", "cancelled"])
def test_stopped_task_goes_on_and_queues_itself_anew_when_its_time_is_over(end, task, tmp_path):
    out = tmp_path / "a folder"
    run = "OMP_NUM_THREADS=1 python algos/nsgan.py --width 4 --steps 2000 --checkpoint-every 100 --log-every 1000"
    command = f"{run} --device cpu --out {shlex.quote(str(out))} --resume"
    process = task(1, [command])
    checkpoint = out / "nsgan-ring-s1" / "checkpoint.pt"
    limit = time.monotonic() + 60
    while not checkpoint.exists():
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.02)
    process.send_signal(end)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 143 and "stopped after step" in said, said
    told = "requeue 77_1, after the checkpoint\n" if end == signal.SIGUSR1 else ""
    assert (tmp_path / "scontrol.txt").read_text() == told
    if end == signal.SIGTERM:
        return
    step = torch.load(checkpoint, weights_only=True)["step"]
    process = task(1, [command])
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and f"resumed after step {step} of 2000" in said
    assert [folder.name for folder in out.iterdir()] == ["nsgan-ring-s1"]
    assert (tmp_path / "scontrol.txt").read_text() == told  # not again


def test_sweep_has_flags_that_its_program_takes():
    sweep = yaml.safe_load((ROOT / "scripts" / "sweep.yaml").read_text())
    module = ALGOS[sweep["program"].removeprefix("algos/").removesuffix(".py")]
    assert sweep["command"][-2:] == ["--track", "${args}"]
    for pick in (0, -1):
        words = []
        for name, choice in sweep["parameters"].items():
            value = choice["values"][pick] if "values" in choice else choice["min" if pick == 0 else "max"]
            words.append(f"--{name}={value}")  # as W&B writes ${args}
        args = parse(module.Args, words=["--track", *words])
        assert args.track and args.seed in range(101, 106) and args.lr in (3e-4, 1e-2)
