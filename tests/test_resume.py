"""Exact resume: N + M steps are N, a kill, --resume and M, bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import tyro
from conftest import ALGOS, ROOT, break_at, script


def same(a, b):
    """Whether two checkpoints' contents are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def contents(folder):
    """What a run left: checkpoint and log, without the clock's readings."""
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    del checkpoint["seconds"]
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    return checkpoint, [{k: v for k, v in row.items() if k != "steps_per_second"} for row in rows]


def start(*words):
    """The process of `python words...`, in its own group."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    return subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT, **pipes)


def wait_for(path, process, seconds=90):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("images", [False, True])
def test_resume_is_exact_for_every_algorithm(algo, images, tmp_path, tiny_images, monkeypatch):
    """Stopped at an arbitrary step after a checkpoint, in a process that has drawn other random numbers since."""
    options = {"steps": 12, "checkpoint_every": 5, "log_every": 4, "device": "cpu", "seed": 4}
    options |= tiny_images if images else {"width": 16}
    algo.train(algo.Args(**options, out=str(tmp_path / "whole")))
    break_at(9, algo, algo.Args(**options, out=str(tmp_path / "broken")), monkeypatch)
    torch.randn(100)
    algo.train(algo.Args(**options, out=str(tmp_path / "broken"), resume=True))

    (whole,), (broken,) = [list((tmp_path / name).iterdir()) for name in ("whole", "broken")]
    assert same(contents(whole), contents(broken))
    assert (whole / "result.json").exists() and (broken / "result.json").exists()
    pictures = [{p.name: p.read_bytes() for p in sorted((f / "samples").iterdir())} for f in (whole, broken)]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 3


def test_run_from_before_an_option_existed_is_resumed(tmp_path, monkeypatch):
    """As if --amp had come later: its default is what that run had."""
    nsgan = ALGOS["nsgan"]
    options = {"steps": 12, "checkpoint_every": 5, "width": 8, "out": str(tmp_path), "device": "cpu"}
    break_at(9, nsgan, nsgan.Args(**options), monkeypatch)
    config = json.loads((tmp_path / "nsgan-ring-s1" / "config.json").read_text())
    del config["args"]["amp"]
    (tmp_path / "nsgan-ring-s1" / "config.json").write_text(json.dumps(config))
    nsgan.train(nsgan.Args(**options, resume=True))
    assert [folder.name for folder in tmp_path.iterdir()] == ["nsgan-ring-s1"]


def test_kill_9_and_resume_on_the_real_script(tmp_path):
    words = "algos/nsgan.py --steps 400 --checkpoint-every 60 --log-every 100 --device cpu".split()
    nsgan = ALGOS["nsgan"]
    nsgan.train(tyro.cli(nsgan.Args, args=[*words[1:], "--out", str(tmp_path / "whole")]))
    process = start(*words, "--out", tmp_path / "broken")
    broken = tmp_path / "broken" / "nsgan-ring-s1"
    wait_for(broken / "samples" / "000100.png", process)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (broken / "result.json").exists()
    with open(broken / "metrics.jsonl", "a") as file:
        file.write('{"step": 99999, "d_lo')  # as a power cut may leave it

    resumed = script(*words, "--out", tmp_path / "broken", "--resume")
    assert resumed.returncode == 0 and "resumed after step" in resumed.stdout
    assert [f.name for f in (tmp_path / "broken").iterdir()] == ["nsgan-ring-s1"]
    assert same(contents(tmp_path / "whole" / "nsgan-ring-s1"), contents(broken))

    again = script(*words, "--out", tmp_path / "broken", "--resume")
    assert again.returncode == 0 and "finished" in again.stdout and "step  " not in again.stdout


def test_only_one_process_at_a_time(tmp_path):
    """The second one ends with a message; after kill -9 of the first the next one goes on, with its pictures."""
    words = ["algos/nsgan.py", "--steps", 100000, "--checkpoint-every", 10, "--log-every", 10, "--width", 4]
    words += ["--device", "cpu", "--out", tmp_path, "--resume"]
    first = start(*words)
    folder = tmp_path / "nsgan-ring-s1"
    wait_for(folder / "checkpoint.pt", first)
    second = script(*words)
    assert second.returncode == 1 and second.stderr == f"{folder} is being trained by another process\n"
    assert first.poll() is None
    first.kill()
    first.communicate()
    shutil.rmtree(folder / "samples")
    third = start(*words)
    wait_for(folder / "samples", third)
    while third.poll() is None and not list((folder / "samples").glob("*.png")):
        time.sleep(0.01)
    os.killpg(third.pid, signal.SIGTERM)
    said = third.communicate(timeout=60)[0]
    assert "resumed after step" in said and "stopped after step" in said, said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_and_says_how_to_go_on(tmp_path, number, code):
    words = ["algos/gan.py", "--steps", 100000, "--log-every", 100, "--device", "cpu", "--out", tmp_path]
    process = start(*words)
    run = tmp_path / "gan-ring-s1"
    wait_for(run / "samples" / "000100.png", process)
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in output
    step = torch.load(run / "checkpoint.pt", weights_only=True)["step"]
    assert step >= 100 and f"stopped after step {step}" in output and "--resume" in output


def run_args(algo, tmp_path, **options):
    common = {"steps": 3, "log_every": 1, "width": 8, "device": "cpu", "out": str(tmp_path)}
    return algo.Args(**{**common, **options})


def test_nothing_is_overwritten_and_resume_finds_its_own(tmp_path):
    """A second fresh run is -2; --resume takes the newest unfinished run of the same command, or starts one."""
    from algos import nsgan as algo

    name = "nsgan-ring-s1"

    def folders():
        return sorted(f.name for f in tmp_path.iterdir())

    algo.train(run_args(algo, tmp_path))
    first = contents(tmp_path / name)
    algo.train(run_args(algo, tmp_path))
    assert folders() == [name, f"{name}-2"] and same(contents(tmp_path / name), first)
    with pytest.raises(SystemExit) as end:
        algo.train(run_args(algo, tmp_path, resume=True))
    assert end.value.code == 0 and folders() == [name, f"{name}-2"]

    algo.train(run_args(algo, tmp_path, lr=0.5e-3, resume=True))  # another command: not theirs
    assert folders() == [name, f"{name}-2", f"{name}-3"]

    (tmp_path / name / "result.json").unlink()  # killed between its last checkpoint and its result
    algo.train(run_args(algo, tmp_path, resume=True))
    assert (tmp_path / name / "result.json").exists() and folders() == [name, f"{name}-2", f"{name}-3"]
    assert same(contents(tmp_path / name), first)

    algo.train(run_args(algo, tmp_path / "new", resume=True))  # nothing there: starts
    assert (tmp_path / "new" / name / "result.json").exists()


def test_resumes_on_another_device(tmp_path):
    """RMSprop's state says how the device of the checkpoint was to be used; that of the new one counts."""
    from algos import wgan

    options = {"steps": 6, "checkpoint_every": 2, "width": 8, "out": str(tmp_path), "device": "cpu"}
    wgan.train(wgan.Args(**options))
    (folder,) = tmp_path.iterdir()
    (folder / "result.json").unlink()
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    saved["step"] = 4
    for name in ("g_opt", "d_opt"):
        saved["state"][name]["param_groups"][0]["capturable"] = True  # as on a GPU
    torch.save(saved, folder / "checkpoint.pt")
    assert wgan.train(wgan.Args(**options, resume=True))["step"] == 6


def test_killed_before_the_first_checkpoint(algo, tmp_path):
    args = run_args(algo, tmp_path)
    algo.train(args)
    (folder,) = tmp_path.iterdir()
    before = contents(folder)
    (folder / "checkpoint.pt").unlink()
    (folder / "result.json").unlink()
    algo.train(run_args(algo, tmp_path, resume=True))
    assert same(contents(folder), before) and [*tmp_path.iterdir()] == [folder]


@pytest.mark.parametrize("damage", ["cut", "garbage", "other algorithm", "other shape"])
def test_damaged_or_foreign_checkpoint(damage, tmp_path):
    from algos import gan, nsgan

    nsgan.train(run_args(nsgan, tmp_path))
    folder = tmp_path / "nsgan-ring-s1"
    (folder / "result.json").unlink()
    file = folder / "checkpoint.pt"
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "garbage":
        file.write_bytes(b"not a checkpoint")
    elif damage == "other algorithm":
        gan.train(run_args(gan, tmp_path))
        file.write_bytes((tmp_path / "gan-ring-s1" / "checkpoint.pt").read_bytes())
    else:
        nsgan.train(run_args(nsgan, tmp_path / "wide", width=16))
        file.write_bytes((tmp_path / "wide" / "nsgan-ring-s1" / "checkpoint.pt").read_bytes())
    with pytest.raises(SystemExit, match="checkpoint.pt is damaged or foreign"):
        nsgan.train(run_args(nsgan, tmp_path, resume=True))


def test_logging_and_its_frequency_do_not_change_the_training(algo, tmp_path):
    for every in (1, 10):
        algo.train(run_args(algo, tmp_path / str(every), steps=10, log_every=every, checkpoint_every=every))
    (often,), (seldom,) = [list((tmp_path / every).iterdir()) for every in ("1", "10")]
    assert same(contents(often)[0], contents(seldom)[0])
