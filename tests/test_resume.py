"""Exact resume: N + M steps are N, a kill, --resume and M, bit for bit."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from conftest import ALGOS, KILLED, ROOT, break_at, contents, same, script
from filelock import FileLock, Timeout
from PIL import Image

from common.args import RunError, parse
from common.run import Run

nsgan = ALGOS["nsgan"]


def start(*words):
    """The process of `python words...`, in its own group. It is killed after 15 minutes, so as not to hang."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    process = subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT, **pipes)
    alarm = threading.Timer(900, process.kill)
    alarm.daemon = True
    alarm.start()
    return process


def wait_for(path, process):
    """Until the process has made the file; a process that ends without it fails the test."""
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize("images", [False, True])
def test_resume_is_exact_for_every_algorithm(algo, images, tmp_path, tiny_images, monkeypatch):
    """Stopped at an arbitrary step after a checkpoint, in a process that has drawn other random numbers since."""
    options = {"steps": 8, "checkpoint_every": 3, "log_every": 4, "device": "cpu", "seed": 4}
    options |= tiny_images if images else {"width": 16}
    algo.train(algo.Args(**options, out=str(tmp_path / "whole")))
    break_at(5, algo, algo.Args(**options, out=str(tmp_path / "broken")), monkeypatch)
    torch.randn(100)
    algo.train(algo.Args(**options, out=str(tmp_path / "broken"), resume=True))

    (whole,), (broken,) = [list((tmp_path / name).iterdir()) for name in ("whole", "broken")]
    assert same(contents(whole), contents(broken))
    assert (whole / "result.json").exists() and (broken / "result.json").exists()
    pictures = [{p.name: p.read_bytes() for p in sorted((f / "samples").iterdir())} for f in (whole, broken)]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 2


def test_run_from_before_an_option_existed_is_resumed(tmp_path, monkeypatch):
    """As if --amp had come later: its default is what that run had."""
    options = {"steps": 12, "checkpoint_every": 5, "width": 8, "out": str(tmp_path), "device": "cpu"}
    break_at(9, nsgan, nsgan.Args(**options), monkeypatch)
    config = json.loads((tmp_path / "nsgan-ring-s1" / "config.json").read_text())
    del config["args"]["amp"]
    (tmp_path / "nsgan-ring-s1" / "config.json").write_text(json.dumps(config))
    nsgan.train(nsgan.Args(**options, resume=True))
    assert [folder.name for folder in tmp_path.iterdir()] == ["nsgan-ring-s1"]


def test_kill_9_and_resume_on_the_real_script(tmp_path, capfd):
    """In the middle of a run, while no Python code can clean up."""
    words = "--steps 200 --checkpoint-every 60 --log-every 50 --device cpu".split()

    def train(out, *more):
        return nsgan.train(parse(nsgan.Args, words=[*words, "--out", str(tmp_path / out), *more]))

    train("whole")
    broken = tmp_path / "broken" / "nsgan-ring-s1"
    ended = script("-c", KILLED, *words, "--out", tmp_path / "broken")
    assert ended.returncode == -signal.SIGKILL and not (broken / "result.json").exists(), ended.stderr
    assert (broken / "samples" / "000150.png").exists() and (broken / ".lock").exists()
    with open(broken / "metrics.jsonl", "a") as file:
        file.write('{"step": 99999, "d_lo')  # as a power cut or a full disk may leave it
    capfd.readouterr()

    result = train("broken", "--resume")
    assert "resumed after step 120" in capfd.readouterr().out
    assert [f.name for f in (tmp_path / "broken").iterdir()] == ["nsgan-ring-s1"]
    assert same(contents(tmp_path / "whole" / "nsgan-ring-s1"), contents(broken))

    assert train("broken", "--resume") == result
    said = capfd.readouterr().out
    assert said == f"{broken} is finished: nothing to resume\n"


def test_only_one_process_at_a_time(tmp_path, capfd):
    """The second one ends with a message; after kill -9 of the first the next one goes on, with its pictures."""
    words = "--steps 100000 --checkpoint-every 10 --log-every 10 --width 4 --device cpu --resume --out".split()
    words.append(str(tmp_path))
    first = start("algos/nsgan.py", *words)
    folder = tmp_path / "nsgan-ring-s1"
    wait_for(folder / "checkpoint.pt", first)
    for _ in range(2):  # to be refused leaves the lock to the first
        with pytest.raises(RunError, match=f"^{folder} is being trained by another process$"):
            nsgan.train(parse(nsgan.Args, words=words))
    assert first.poll() is None
    first.kill()
    first.communicate()
    shutil.rmtree(folder / "samples")
    third = start("algos/nsgan.py", *words)
    wait_for(folder / "samples", third)
    while third.poll() is None and not list((folder / "samples").glob("*.png")):
        time.sleep(0.02)
    os.killpg(third.pid, signal.SIGTERM)
    said = third.communicate()[0]
    assert third.returncode == 143 and "Traceback" not in said
    step = torch.load(folder / "checkpoint.pt", weights_only=True)["step"]
    assert "resumed after step" in said and f"stopped after step {step}; the same command with --resume" in said, said


def test_a_name_that_another_run_took_meanwhile_is_left_to_it(tmp_path):
    """Two runs that start at the same time find the same free name; the folder is made when the loop begins."""
    run = Run("nsgan.py", run_args(nsgan, tmp_path))
    first = nsgan.train(run_args(nsgan, tmp_path))
    steps = run.steps()
    assert next(steps) == 1 and run.folder == tmp_path / "nsgan-ring-s1-2"
    steps.close()
    assert json.loads((tmp_path / "nsgan-ring-s1" / "result.json").read_text())["w1"] == first["w1"]


def test_the_folder_is_locked_until_the_result_is_written(tmp_path, monkeypatch):
    def measured(data, fake, final=False):
        with pytest.raises(Timeout):
            FileLock(tmp_path / "nsgan-ring-s1" / ".lock", timeout=0).acquire()
        return {"coverage": 8}

    with monkeypatch.context() as patch:
        patch.setattr("common.run.evaluate", measured)
        patch.setattr("common.run.draw", lambda *_: Image.new("L", (4, 4)))
        nsgan.train(run_args(nsgan, tmp_path))
    FileLock(tmp_path / "nsgan-ring-s1" / ".lock", timeout=0).acquire()  # and not any longer


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError()])
def test_a_file_system_without_locks_is_no_reason_not_to_train(error, tmp_path, monkeypatch):
    def acquire(self):
        raise error

    monkeypatch.setattr(FileLock, "acquire", acquire)
    assert nsgan.train(run_args(nsgan, tmp_path))["step"] == 3


@pytest.mark.parametrize(
    ("number", "error", "code"), [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143)]
)
def test_a_signal_raises_after_the_checkpoint_and_the_next_run_goes_on(number, error, code, tmp_path, monkeypatch):
    log, before = Run.log, signal.getsignal(number)

    def raised(self, step, numbers, G):
        if step == 2:
            signal.raise_signal(number)
            assert signal.getsignal(number) == before  # a second one ends the program at once
        log(self, step, numbers, G)

    with monkeypatch.context() as patch, pytest.raises(error) as end:
        patch.setattr(Run, "log", raised)
        nsgan.train(run_args(nsgan, tmp_path))
    assert getattr(end.value, "code", None) == code
    assert torch.load(tmp_path / "nsgan-ring-s1" / "checkpoint.pt", weights_only=True)["step"] == 2
    assert nsgan.train(run_args(nsgan, tmp_path, resume=True))["step"] == 3
    assert [folder.name for folder in tmp_path.iterdir()] == ["nsgan-ring-s1"]


def test_own_data_are_resumed_exactly(tmp_path, monkeypatch):
    data = torch.randint(256, (30, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    options = {"steps": 8, "checkpoint_every": 3, "log_every": 3, "dataset": "folder", "batch_size": 8}
    whole = run_args(nsgan, tmp_path / "whole", **options)
    nsgan.train(whole, data)
    break_at(5, nsgan, run_args(nsgan, tmp_path / "broken", **options), monkeypatch, data)
    torch.randn(100)
    nsgan.train(run_args(nsgan, tmp_path / "broken", resume=True, **options), data)
    assert same(*(contents(tmp_path / name / "nsgan-own-s1") for name in ("whole", "broken")))


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_whose_learning_rate_stays_can_be_made_longer(finished, tmp_path, monkeypatch):
    """Bit for bit the longer run, whether the shorter one ended or was broken off, and the longer one too."""
    options = {"log_every": 2, "checkpoint_every": 2, "lr_decay": False}
    nsgan.train(run_args(nsgan, tmp_path / "long", steps=8, **options))
    short = run_args(nsgan, tmp_path / "short", steps=4, **options)
    nsgan.train(short) if finished else break_at(3, nsgan, short, monkeypatch)
    longer = run_args(nsgan, tmp_path / "short", steps=8, resume=True, **options)
    break_at(7, nsgan, longer, monkeypatch)  # the shorter run's result must not stand for the longer one's
    result = nsgan.train(longer)
    assert result["step"] == 8 and len([*(tmp_path / "short").iterdir()]) == 1
    long, short = (tmp_path / name / "nsgan-ring-s1" for name in ("long", "short"))
    assert same(contents(long), contents(short)) and sorted(os.listdir(long)) == sorted(os.listdir(short))
    pictures = [{p.name: p.read_bytes() for p in (f / "samples").iterdir()} for f in (long, short)]
    assert pictures[0] == pictures[1]
    assert json.loads((short / "config.json").read_text())["args"]["steps"] == 8
    again = run_args(nsgan, tmp_path / "short", steps=4, resume=True, **options)  # shorter is another run
    assert nsgan.train(again)["folder"] == f"{short}-2"


def test_with_a_falling_learning_rate_it_says_why_not_and_leaves_the_old_run_alone(tmp_path, capsys):
    nsgan.train(run_args(nsgan, tmp_path, steps=2))
    old = tmp_path / "nsgan-ring-s1"
    before = {file: file.read_bytes() for file in old.rglob("*") if file.is_file()}
    capsys.readouterr()
    assert nsgan.train(run_args(nsgan, tmp_path, steps=3, resume=True))["folder"] == f"{old}-2"
    (why,) = (line for line in capsys.readouterr().out.splitlines() if "had fewer --steps" in line)
    assert str(old) in why and "learning rate" in why and f"{old.name}-2" in why
    assert {file: file.read_bytes() for file in old.rglob("*") if file.is_file()} == before


def run_args(algo, tmp_path, **options):
    common = {"steps": 3, "log_every": 1, "width": 8, "device": "cpu", "out": str(tmp_path)}
    return algo.Args(**{**common, **options})


def test_nothing_is_overwritten_and_resume_finds_its_own(tmp_path):
    """A second fresh run is -2; --resume takes the newest unfinished run of the same command, or starts one."""
    algo, name = nsgan, "nsgan-ring-s1"

    def folders():
        return sorted(f.name for f in tmp_path.iterdir())

    algo.train(run_args(algo, tmp_path))
    first = contents(tmp_path / name)
    algo.train(run_args(algo, tmp_path))
    assert folders() == [name, f"{name}-2"] and same(contents(tmp_path / name), first)
    assert algo.train(run_args(algo, tmp_path, resume=True))["folder"] == str(tmp_path / f"{name}-2")
    assert folders() == [name, f"{name}-2"]

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
    wgan = ALGOS["wgan"]
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


def test_killed_before_the_first_checkpoint(tmp_path):
    algo = nsgan
    algo.train(run_args(algo, tmp_path))
    (folder,) = tmp_path.iterdir()
    before = contents(folder)
    (folder / "checkpoint.pt").unlink()
    (folder / "checkpoint.pt.tmp").write_bytes(b"half")  # killed while it was written
    (folder / "result.json").unlink()
    algo.train(run_args(algo, tmp_path, resume=True))
    assert same(contents(folder), before) and [*tmp_path.iterdir()] == [folder]
    assert (folder / "checkpoint.pt").read_bytes()[:2] == b"PK" and not (folder / "checkpoint.pt.tmp").exists()


def test_seconds_are_those_of_all_parts_of_a_run(tmp_path, monkeypatch):
    break_at(3, nsgan, run_args(nsgan, tmp_path, steps=4, checkpoint_every=2), monkeypatch)
    file = tmp_path / "nsgan-ring-s1" / "checkpoint.pt"
    torch.save(torch.load(file, weights_only=True) | {"seconds": 1000.0}, file)
    nsgan.train(run_args(nsgan, tmp_path, steps=4, checkpoint_every=2, resume=True))
    assert 1000 < torch.load(file, weights_only=True)["seconds"] < 2000


def test_a_checkpoint_of_more_processes_goes_on_with_random_numbers_of_its_own(tmp_path):
    """Not with those from which the run began, which would come twice."""
    nsgan.train(run_args(nsgan, tmp_path))
    (folder,) = tmp_path.iterdir()
    (folder / "result.json").unlink()
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    torch.save(saved | {"step": 2, "rng": 2 * saved["rng"]}, folder / "checkpoint.pt")
    nsgan.train(run_args(nsgan, tmp_path, resume=True))
    assert torch.initial_seed() != 1


class Code:
    """What a hostile checkpoint may hold: PyTorch's older loading would make the file of that name."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (self.file, "w")


def test_a_checkpoint_runs_no_code(tmp_path):
    nsgan.train(run_args(nsgan, tmp_path))
    folder = tmp_path / "nsgan-ring-s1"
    (folder / "result.json").unlink()
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    torch.save(saved | {"code": Code(str(tmp_path / "made"))}, folder / "checkpoint.pt")
    with pytest.raises(RunError, match="checkpoint.pt is damaged or foreign"):
        nsgan.train(run_args(nsgan, tmp_path, resume=True))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("damage", ["cut", "garbage", "one bit", "other algorithm", "other shape"])
def test_damaged_or_foreign_checkpoint(damage, tmp_path):
    gan = ALGOS["gan"]
    nsgan.train(run_args(nsgan, tmp_path))
    folder = tmp_path / "nsgan-ring-s1"
    (folder / "result.json").unlink()
    file = folder / "checkpoint.pt"
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "garbage":
        file.write_bytes(b"not a checkpoint")
    elif damage == "one bit":  # in a weight of G, which stays a number
        bit = next(iter(torch.load(file, weights_only=True)["state"]["G"].values())).numpy().tobytes()[:64]
        at = content.index(bit)
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert torch.load(file, weights_only=True)["step"] == 3  # PyTorch does not see it
    elif damage == "other algorithm":
        gan.train(run_args(gan, tmp_path))
        file.write_bytes((tmp_path / "gan-ring-s1" / "checkpoint.pt").read_bytes())
    else:
        nsgan.train(run_args(nsgan, tmp_path / "wide", width=16))
        file.write_bytes((tmp_path / "wide" / "nsgan-ring-s1" / "checkpoint.pt").read_bytes())
    with pytest.raises(RunError, match="checkpoint.pt is damaged or foreign"):
        nsgan.train(run_args(nsgan, tmp_path, resume=True))


def test_without_its_pictures_a_run_ends_without_a_film_and_a_damaged_log_is_named(tmp_path):
    nsgan.train(run_args(nsgan, tmp_path))
    folder = tmp_path / "nsgan-ring-s1"
    for name in ("result.json", "training.gif"):
        (folder / name).unlink()
    shutil.rmtree(folder / "samples")
    assert nsgan.train(run_args(nsgan, tmp_path, resume=True))["step"] == 3
    assert not (folder / "training.gif").exists()
    (folder / "result.json").unlink()
    for damage in (b"\xff{}\n", b"nonsense}\n", b"{}\n"):
        (folder / "metrics.jsonl").write_bytes(damage)
        with pytest.raises(RunError, match="metrics.jsonl is damaged"):
            nsgan.train(run_args(nsgan, tmp_path, resume=True))


def test_logging_and_its_frequency_do_not_change_the_training(algo, tmp_path):
    for every in (1, 3):
        algo.train(run_args(algo, tmp_path / str(every), steps=3, log_every=every, checkpoint_every=every))
    (often,), (seldom,) = [list((tmp_path / every).iterdir()) for every in ("1", "3")]
    assert same(contents(often)[0], contents(seldom)[0])
