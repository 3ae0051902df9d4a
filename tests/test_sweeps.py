"""Many runs: a SLURM array and steps on a GPU, which resume what was stopped, and a sweep of W&B."""

import importlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tyro
import yaml
from conftest import ALGOS, HANGS, ROOT

from common.args import parse
from scripts.lib.suites import SUITES

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
    assert process.communicate(timeout=HANGS)[0] == "a b 2\n" and process.returncode == 0
    process = task(1, commands)
    assert process.communicate(timeout=HANGS)[0] == "" and process.returncode == 1
    process = task(3, commands)
    assert "has no line 3" in process.communicate(timeout=HANGS)[0] and process.returncode == 1


def test_stopped_task_goes_on_and_queues_itself_anew_when_its_time_is_over(task, tmp_path):
    """First its time is over; the task that goes on is cancelled, and then it does not come back."""
    out = tmp_path / "a folder"
    run = "OMP_NUM_THREADS=1 python algos/nsgan.py --width 4 --steps 1000000 --checkpoint-every 20 --log-every 100000"
    command = f"{run} --device cpu --out {shlex.quote(str(out))} --resume"
    checkpoint = out / "nsgan-ring-s1" / "checkpoint.pt"
    said, told, before = [], [], 0
    for end in (signal.SIGUSR1, signal.SIGTERM):
        process = task(1, [command])
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(end)
        said.append(process.communicate(timeout=HANGS)[0])
        assert process.returncode == 143 and "stopped after step" in said[-1], said
        told.append((tmp_path / "scontrol.txt").read_text())
        before = checkpoint.stat().st_mtime_ns
    assert told == 2 * ["requeue 77_1, after the checkpoint\n"]  # not again
    step = said[0].partition("stopped after step ")[2].partition(";")[0]
    assert f"resumed after step {step} of 1000000" in said[1]
    assert [folder.name for folder in out.iterdir()] == ["nsgan-ring-s1"]


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


def on_a_gpu(tmp_path, *words, **environment):
    """What scripts/on_a_gpu.sh prints."""
    environment = os.environ | {"PYTHON": sys.executable, "OUT": str(tmp_path), "DEVICE": "A (fake) GPU"} | environment
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": HANGS}
    return subprocess.run(["bash", ROOT / "scripts" / "on_a_gpu.sh", *words], env=environment, **pipes).stdout


def test_every_step_on_a_gpu_is_a_command_that_parses(tmp_path):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    lines = on_a_gpu(tmp_path, "--dry-run", DATA=str(tmp_path)).splitlines()
    assert lines[0].startswith("tests, at most ") and "tests/test_cuda.py" in lines[0] and len(lines) == 9
    for line in lines[1:]:
        file, *rest = shlex.split(line.partition(": python ")[2])
        args = tyro.cli(importlib.import_module(f"scripts.{Path(file).stem}").Args, args=rest)
        assert args.device == "cuda" and not {*getattr(args, "suites", ())} - {*SUITES}
        assert not {*getattr(args, "algos", ())} - {*ALGOS}
    assert [*tmp_path.iterdir()] == [tmp_path / "MNIST"]
    (said, *_) = on_a_gpu(tmp_path, "--dry-run", DATA=str(tmp_path / "none")).splitlines()
    assert said == f"missing: {tmp_path}/none/MNIST/raw; skipped without it: pacgan-stacked dual-d-ablations"


def test_steps_on_a_gpu_are_done_once_and_stopped_when_their_time_is_over(tmp_path):
    steps, out = tmp_path / "steps", tmp_path / "gpu-a-fake-gpu"
    slow = "slow|%d||-c __import__('time').sleep(%d)\n"
    steps.write_text(
        "good|60|json|-c print(6*7)\n" + slow % (1, 1000) + "bad|60||-c nonsense\nlacks|60|no_such|\nlast|60||-c 0\n"
    )
    said = on_a_gpu(tmp_path, STEPS=str(steps))
    assert said.startswith("missing: no_such; skipped without it: lacks\ngood: ended with status 0 after ")
    assert sorted(file.name for file in out.iterdir()) == ["bad.txt", "good.txt", "last.txt", "slow.stopped.txt"]
    assert (out / "good.txt").read_text().splitlines()[0] == "python -c print(6*7)"
    assert "A (fake) GPU" in (out / "good.txt").read_text() and "\n42\n" in (out / "good.txt").read_text()
    assert "NameError" in (out / "bad.txt").read_text() and "status 1 after" in (out / "bad.txt").read_text()

    steps.write_text(slow % (60, 0) + "good|60||-c nonsense\nnew|60||-c 0\n")  # what is done is not done again
    assert "no time is left" in on_a_gpu(tmp_path, STEPS=str(steps), MINUTES="0")
    said = on_a_gpu(tmp_path, "--dry-run", STEPS=str(steps)).splitlines()
    assert [line.split(",")[0] for line in said] == ["new", "slow"]  # what was stopped comes last
    assert len(on_a_gpu(tmp_path, STEPS=str(steps)).splitlines()) == 2
    assert sorted(file.stem for file in out.iterdir()) == ["bad", "good", "last", "new", "slow"]
    assert on_a_gpu(tmp_path, STEPS=str(steps)) == ""
    assert "no GPU" in on_a_gpu(tmp_path, DEVICE="")
