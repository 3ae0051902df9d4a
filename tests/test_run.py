"""What a run leaves behind, what it says, and how it ends: one clear sentence, no traceback, before any work."""

import errno
import fcntl
import json
import math
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ALGOS, ROOT, script
from PIL import Image

from common import data, metrics
from common.args import RunError, main, parse
from common.device import settings
from common.draw import as_bytes, draw, film
from common.run import Run, short_line

nsgan = ALGOS["nsgan"]
POINTS = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randint(256, (30, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def args(algo, tmp_path, **options):
    common = {"steps": 6, "log_every": 2, "width": 8, "device": "cpu", "out": str(tmp_path)}
    return algo.Args(**{**common, **options})


def at_each_log(monkeypatch, do):
    """Calls do(step, local) before each Run.log, with the local variables of train()."""
    log = Run.log

    def watched(self, step, numbers, G):
        do(step, sys._getframe(1).f_locals)
        return log(self, step, numbers, G)

    monkeypatch.setattr(Run, "log", watched)


# --- what it leaves, and what it returns


def test_a_run_on_points_leaves_everything(algo, tmp_path, capsys):
    result = algo.train(args(algo, tmp_path))
    (folder,) = tmp_path.iterdir()
    assert sorted(f.name for f in folder.iterdir()) == [
        "checkpoint.pt", "config.json", "metrics.jsonl", "result.json", "samples", "training.gif",
    ]  # fmt: skip
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    two = "d1_real" in rows[0]
    always = {"d1_real", "d1_fake", "d2_real", "d2_fake"} if two else {"d_real", "d_fake"}
    always |= {"d_loss", "g_loss", "g_grad", "steps_per_second"}
    measured = {"coverage", "js", "high_quality", "modes", "reverse_kl"}
    assert [row["step"] for row in rows] == [2, 4, 6] and all(always | measured <= row.keys() for row in rows)
    written = json.loads((folder / "result.json").read_text())
    assert result.pop("folder") == str(folder)
    assert {k: written[k] for k in result} == result and result["w1"] > 0 and result["step"] == 6
    assert written["exact_sampler"]["coverage"] == 8 and written["exact_sampler"]["w1"] < 0.5
    config = json.loads((folder / "config.json").read_text())
    assert config["args"]["width"] == 8 and config["torch"] == torch.__version__ and config["device"]
    assert config["shape"] == [2] and config["data"] == "ring" and config["args"]["lr"] == algo.PRESETS["ring"]["lr"]
    assert [f.name for f in sorted((folder / "samples").iterdir())] == ["000002.png", "000004.png", "000006.png"]
    film = Image.open(folder / "training.gif")
    assert film.n_frames >= 2 and film.size == Image.open(folder / "samples" / "000006.png").size
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 6

    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert [line.split()[:3] for line in lines] == [["step", str(n), "coverage"] for n in (2, 4, 6)]
    assert all(len(line) < 80 and "high_quality" in line and "d_loss" in line and "g_loss" in line for line in lines)


def test_a_run_on_images_leaves_a_grid(algo, tmp_path, tiny_images, capsys):
    result = algo.train(args(algo, tmp_path / "out", steps=2, **tiny_images))
    (folder,) = (tmp_path / "out").iterdir()
    picture = Image.open(folder / "samples" / "000002.png")
    assert picture.mode == "RGB" and picture.size == (512, 512)  # 8 x 8 images, enlarged to be seen
    small = torch.randn(64, 1, 8, 8)
    tiles = torch.tensor(np.array(draw(SimpleNamespace(shape=(1, 8, 8)), small, "", {}))).view(8, 60, 8, 60)
    assert tiles[:, 6:54:6, :, 6:54:6].permute(0, 2, 1, 3).reshape(64, 1, 8, 8).equal(as_bytes(small))
    assert (tiles[:, :6] == 64).all() and (tiles[..., 54:] == 64).all()  # a frame between them
    assert result["swd"] > 0 and "coverage" not in result and not (folder / "training.gif").exists()
    assert json.loads((folder / "config.json").read_text())["shape"] == [3, 16, 16]
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("step "))
    assert line.split()[2] == "swd" and "d_loss" in line and len(line) < 80


@pytest.mark.exact_w1
def test_the_result_has_the_exact_w1_of_a_thousand_samples(tmp_path, monkeypatch):
    seen, evaluate = [], metrics.evaluate

    def watched(data, fake, final=False):
        seen.append((data, fake, final))
        return evaluate(data, fake, final)

    monkeypatch.setattr("common.run.evaluate", watched)
    result = nsgan.train(args(nsgan, tmp_path, steps=1))
    (ring, fake, _), (_, exact, _) = (call for call in seen if call[2])
    real = data.fixed_sample(ring, 2500)[:1000]
    assert result["w1"] == pytest.approx(metrics.wasserstein(real, fake[:1000]), rel=1e-6)
    written = json.loads((tmp_path / "nsgan-ring-s1" / "result.json").read_text())["exact_sampler"]["w1"]
    assert written == pytest.approx(metrics.wasserstein(real, exact[:1000]), rel=1e-6) and written < 0.5


def test_numbers_in_the_log_are_those_of_the_step(algo, tmp_path, monkeypatch):
    """g_grad is the norm of the gradient in all of G's weights, d_real and d_fake are means over the batch.

    The learning rate that G's optimiser sees falls.
    """
    expected, rates = [], []

    def record(step, local):
        gradient = torch.cat([p.grad.flatten() for p in local["G"].parameters()])
        scores = {name: x for name, x in local["numbers"].items() if name.endswith(("_real", "_fake"))}
        assert {len(x) for x in scores.values()} == {algo.Args().batch_size // (2 if hasattr(algo, "pack") else 1)}
        means = {name: sum(x.flatten().tolist()) / x.numel() for name, x in scores.items()}
        expected.append({"step": step, "g_grad": gradient.norm().item(), **means})
        rates.append(local["g_opt"].param_groups[0]["lr"].item())

    at_each_log(monkeypatch, record)
    folder = algo.train(args(algo, tmp_path, steps=2, log_every=1))["folder"]
    rows = [json.loads(row) for row in open(f"{folder}/metrics.jsonl")]
    for row, numbers in zip(rows, expected, strict=True):
        assert {name: row[name] for name in numbers} == pytest.approx(numbers, rel=1e-4, abs=1e-6)
    assert rates == pytest.approx([algo.Args().lr, algo.Args().lr / 2], rel=1e-5)


def test_a_long_film_opens_few_files_and_keeps_the_order_and_the_last(tmp_path):
    """Thousands of pictures, past step 999999: at most 201 frames, by number, without running out of files."""
    run = Run("x.py", args(nsgan, tmp_path, quiet=True))
    run.folder, run.z = tmp_path, torch.randn(10, 2)
    (tmp_path / "samples").mkdir()
    for step in range(999_700, 1_000_300):
        shade = (step - 999_700) // 3
        Image.new("L", (4, 4), shade).save(tmp_path / "samples" / f"{step:06d}.png")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        assert run.finish(nsgan.Generator(2, (2,), 4))["step"] == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    gif, shades = Image.open(tmp_path / "training.gif"), []
    for frame in range(gif.n_frames):
        gif.seek(frame)
        shades.append(gif.convert("L").getpixel((0, 0)))
    assert 150 < len(shades) <= 201 and shades == sorted(shades) and shades[-1] == 199
    (tmp_path / "one.gif").write_bytes(film([tmp_path / "samples" / "999700.png"]))
    assert Image.open(tmp_path / "one.gif").size == (4, 4)


@pytest.mark.parametrize("decay", [True, False])
def test_learning_rate_falls_linearly_to_zero(decay, tmp_path, monkeypatch):
    rates = []
    at_each_log(monkeypatch, lambda step, local: rates.append(local["g_opt"].param_groups[0]["lr"].item()))
    nsgan.train(args(nsgan, tmp_path, steps=5, log_every=5, lr=1.0e-3, lr_decay=decay))
    expected = [1e-3, 0.8e-3, 0.6e-3, 0.4e-3, 0.2e-3] if decay else [1e-3] * 5
    assert rates == pytest.approx(expected, rel=1e-5)


def test_the_last_step_is_always_logged(tmp_path):
    folder = nsgan.train(args(nsgan, tmp_path, steps=3, log_every=2))["folder"]
    assert [json.loads(row)["step"] for row in open(f"{folder}/metrics.jsonl")] == [2, 3]


# --- a good guest: train() in somebody's program


def test_a_loop_over_seeds_goes_on_after_a_finished_one(tmp_path, capsys):
    """With resume=True a finished run returns its result, and nothing ends the program of the caller."""

    def results(*seeds):
        return [nsgan.train(args(nsgan, tmp_path, steps=2, seed=seed, resume=True)) for seed in seeds]

    first = results(1, 2)
    capsys.readouterr()
    again = results(1, 2, 3)
    assert again[:2] == first and again[2]["folder"] == str(tmp_path / "nsgan-ring-s3")
    assert capsys.readouterr().out.count("is finished: nothing to resume") == 2
    assert len([*tmp_path.iterdir()]) == 3


def end_by_return(step, local):
    pass


def end_by_run_error(step, local):
    if step == 2:
        local["numbers"]["d_loss"] = torch.tensor(math.nan)


def end_by_exception(step, local):
    if step == 2:
        raise ZeroDivisionError


@pytest.mark.parametrize("end", [end_by_return, end_by_run_error, end_by_exception])
@pytest.mark.parametrize("images", [False, True])
def test_threads_and_signals_are_put_back_however_it_ends(end, images, tmp_path, monkeypatch):
    """Points train with one thread, images with all that there were."""
    inside, handlers = [], [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def watch(step, local):
        inside.append(torch.get_num_threads())
        end(step, local)

    at_each_log(monkeypatch, watch)
    options = {"dataset": "folder"} if images else {}
    torch.set_num_threads(2)
    try:
        nsgan.train(args(nsgan, tmp_path, steps=2, batch_size=4, **options), IMAGES if images else None)
    except (RunError, ZeroDivisionError) as error:
        assert isinstance(error, {end_by_run_error: RunError, end_by_exception: ZeroDivisionError}[end])
    else:
        assert end == end_by_return
    try:
        assert torch.get_num_threads() == 2 and inside == [2 if images else 1] * 2
    finally:
        torch.set_num_threads(1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize("images", [False, True])
def test_precision_flags_are_put_back(images):
    """A CPU that is called a GPU: TF32 for images only, and convolutions that a resumed run repeats."""
    old = torch.get_float32_matmul_precision(), torch.backends.cudnn.deterministic
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.deterministic = False
    try:
        with pytest.raises(RunError), settings(torch.device("cuda"), points=not images):
            assert torch.get_float32_matmul_precision() == ("high" if images else "highest")
            assert torch.backends.cudnn.deterministic
            raise RunError
        assert torch.get_float32_matmul_precision() == "medium" and not torch.backends.cudnn.deterministic
    finally:
        torch.set_float32_matmul_precision(old[0])
        torch.backends.cudnn.deterministic = old[1]


def test_quiet_prints_nothing(tmp_path, capfd):
    options = {"steps": 2, "quiet": True, "resume": True}
    for steps in (2, 2, 4):  # new; finished; another run, as there were fewer steps
        nsgan.train(args(nsgan, tmp_path, **options | {"steps": steps}))
    assert capfd.readouterr() == ("", "")
    with pytest.raises(RunError):
        nsgan.train(args(nsgan, tmp_path, lr=-1.0, quiet=True))


@pytest.mark.parametrize(
    ("own", "dataset", "measured", "shape"),
    [
        (POINTS, "ring", {"swd", "w1"}, [2]),
        (IMAGES, "folder", {"swd"}, [3, 16, 16]),
        (data.Points(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 0.1), "grid", {"coverage", "w1"}, [2]),
        (SimpleNamespace(shape=(2,), sample=lambda n: torch.randn(n, 2)), "ring", {"swd", "w1"}, [2]),
        (SimpleNamespace(shape=(1, 16, 16), sample=lambda n: torch.rand(n, 1, 16, 16)), "mnist", {"swd"}, [1, 16, 16]),
    ],
    ids=["points", "images", "mixture", "object of points", "object of images"],
)
def test_own_data_are_learned_measured_and_drawn(own, dataset, measured, shape, tmp_path):
    result = nsgan.train(args(nsgan, tmp_path, steps=2, batch_size=8, dataset=dataset), own)
    assert measured <= result.keys() and all(math.isfinite(result[name]) for name in measured)
    folder = tmp_path / "nsgan-own-s1"
    assert result["folder"] == str(folder) and (folder / "samples" / "000002.png").exists()
    config = json.loads((folder / "config.json").read_text())
    assert config["shape"] == shape and config["data"] == "own" and config["args"]["dataset"] == dataset
    assert (folder / "training.gif").exists() == (shape == [2])


@pytest.mark.parametrize(
    ("own", "dataset", "kind", "instead"), [(POINTS, "mnist", "points", "ring"), (IMAGES, "ring", "images", "folder")]
)
def test_settings_of_the_other_kind_are_refused(own, dataset, kind, instead, tmp_path):
    with pytest.raises(RunError, match=f"^the data are {kind}, but dataset='{dataset}' .*'{instead}'"):
        nsgan.train(args(nsgan, tmp_path / "out", dataset=dataset), own)
    assert not (tmp_path / "out").exists()


# --- numbers that are not finite


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_loss_stops_the_run(bad, tmp_path, monkeypatch):
    """It says the step, the values and what to try; the row has null; the last good checkpoint stays."""

    def poison(step, local):
        if step == 5:
            local["numbers"]["d_loss"] = torch.tensor(bad)

    at_each_log(monkeypatch, poison)
    with pytest.raises(RunError) as end:
        nsgan.train(args(nsgan, tmp_path, log_every=1, checkpoint_every=2))
    assert f"step 5: d_loss {bad}" in str(end.value) and "--lr" in str(end.value)
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["d_loss"] is None
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 4
    assert not (folder / "result.json").exists()


def test_weights_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    def poison(step, local):
        if step == 3:
            with torch.no_grad():
                next(local["D"].parameters()).view(-1)[-1].fill_(math.nan)

    at_each_log(monkeypatch, poison)
    with pytest.raises(RunError, match="step 3: D is not finite"):
        nsgan.train(args(nsgan, tmp_path, log_every=100, checkpoint_every=1))
    assert torch.load(tmp_path / "nsgan-ring-s1" / "checkpoint.pt", weights_only=True)["step"] == 2


# --- bad input


def own_flags():
    """A bad value for each number that a file has and nsgan.py has not."""
    for name, algo in ALGOS.items():
        for field, kind in algo.Args.__annotations__.items():
            if field not in nsgan.Args.__annotations__ and kind in (int, float) or field == "lambda_":
                yield name, field, -1 if kind is int else math.nan if field in ("a", "b", "c") else -1.0


@pytest.mark.parametrize(
    ("name", "flag", "value"),
    [
        *[("nsgan", *pair) for pair in [
            ("steps", 0), ("batch_size", 0), ("d_steps", 0), ("z_dim", 0), ("width", -1), ("seed", -1), ("seed", 2**32),
            ("log_every", 0), ("checkpoint_every", 0), ("lr", 1e39), ("lr", 1.5), ("lr", 0.0), ("lr", -1e-3),
            ("lr", math.nan), ("lr", math.inf), ("beta1", 1.0), ("beta2", -0.1), ("beta1", math.nan),
            ("image_size", 48), ("image_size", 4),
        ]],
        *own_flags(),
        ("wgan_gp", "lambda_", math.nan), ("pacgan", "packing", 0),
    ],
)  # fmt: skip
def test_bad_numbers(name, flag, value, tmp_path):
    with pytest.raises(RunError, match=f"^--{flag.strip('_').replace('_', '-')} .*must be"):
        ALGOS[name].train(args(ALGOS[name], tmp_path / "out", **{flag: value}))
    assert not (tmp_path / "out").exists()


def test_the_flags_of_all_files_were_tried():
    assert {name for name, _, _ in own_flags()} >= {"began", "d2gan", "dragan", "lsgan", "mlegan", "pacgan", "wgan_gp"}


@pytest.mark.parametrize(
    ("name", "flag", "value", "said"),
    [
        ("nsgan", "dataset", "rings", "--dataset rings: must be one of ring, grid"),
        ("nsgan", "steps", 20.0, "--steps 20.0: must be of type int"),
        ("nsgan", "steps", True, "--steps True: must be of type int"),
        ("nsgan", "seed", "2", "--seed 2: must be of type int"),
        ("nsgan", "lr", "1e-3", "--lr 1e-3: must be of type float"),
        ("nsgan", "amp", 1, "--amp 1: must be of type bool"),
        ("nsgan", "quiet", 0, "--quiet 0: must be of type bool"),
        ("nsgan", "out", ALGOS, "--out .*: must be of type str"),
        ("wgan_gp", "lambda_", "10", "--lambda 10: must be of type float"),
    ],
)
def test_what_tyro_refuses_is_refused_from_python_too(name, flag, value, said, tmp_path):
    with pytest.raises(RunError, match=f"^{said}"):
        ALGOS[name].train(args(ALGOS[name], tmp_path / "out", **{flag: value}))


@pytest.mark.parametrize("lr", [1, np.float64(0.1)])
def test_a_whole_number_or_numpys_will_do_for_a_float(lr, tmp_path):
    assert ALGOS["wgan_gp"].train(args(ALGOS["wgan_gp"], tmp_path, lambda_=10, steps=1, lr=lr))["step"] == 1


def test_seeds_are_those_that_a_cpu_tells_apart(tmp_path):
    """A CPU's random numbers depend on 32 bits of the seed."""
    draws = [torch.randn(3, generator=torch.Generator().manual_seed(seed)) for seed in (7, 7 + 2**32, 2**32 - 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert nsgan.train(args(nsgan, tmp_path, steps=1, seed=2**32 - 1))["step"] == 1
    with pytest.raises(RunError, match=r"^--seed 4294967303: must be from 0 to 2\*\*32 - 1$"):
        nsgan.train(args(nsgan, tmp_path, seed=7 + 2**32))


def test_codes_of_lsgan_may_be_negative(tmp_path):
    lsgan = ALGOS["lsgan"]
    coded = parse(lsgan.Args, words="--a -1 --b 1 --c 0 --steps 1 --width 4 --device cpu".split())
    coded.out = str(tmp_path)
    assert coded.a == -1 and lsgan.train(coded)["step"] == 1


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_missing_device(device, tmp_path):
    with pytest.raises(RunError, match=f"--device {device}: not on this machine"):
        nsgan.train(args(nsgan, tmp_path / "out", device=device))
    assert not (tmp_path / "out").exists()


def test_unwritable_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--out .* cannot be written to"):
        nsgan.train(args(nsgan, tmp_path / "file"))


def test_missing_data_leaves_no_folder(tmp_path):
    with pytest.raises(RunError, match="no folder of images"):
        nsgan.train(args(nsgan, tmp_path / "out", dataset="folder", data_root=str(tmp_path / "nothing")))
    assert not (tmp_path / "out").exists()


# --- the command: RunError becomes one line and a status


FULL = OSError(errno.ENOSPC, "No space left on device", "a.png")
NO_MEMORY = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.\nMore about it")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunError("one\nor two lines"), "one\nor two lines"),
        (RunError(), 1),
        (KeyboardInterrupt(), 130),
        (FULL, "[Errno 28] No space left on device: 'a.png'"),
        (MemoryError(), "out of memory\ntry a smaller --batch-size, --width or --image-size"),
        (
            NO_MEMORY,
            "CUDA out of memory. Tried to allocate 2 GiB.\ntry a smaller --batch-size, --width or --image-size",
        ),
        (ZeroDivisionError(), None),
        (RuntimeError("CUDA error: an illegal memory access"), None),
    ],
    ids=repr,
)
def test_a_command_ends_with_the_text_of_the_error_and_its_status(error, code, monkeypatch):
    """As Python ends a program: a text goes to stderr and gives 1. Ctrl-C gives 130, an error of ours a traceback."""

    def fail(args):
        raise error

    monkeypatch.setattr(sys, "argv", ["x.py"])
    with pytest.raises(SystemExit if code else type(error)) as end:
        main(nsgan.Args, fail, "Doc.")
    assert getattr(end.value, "code", None) == code


def test_when_nobody_reads_on_it_ends_without_a_word(tmp_path):
    """`| head -1`."""
    words = [sys.executable, "algos/nsgan.py", "--steps", "1000", "--log-every", "1", "--out", str(tmp_path)]
    ended = script("-c", "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=-1); p.stdout.readline(); "
                   "p.stdout.close(); sys.exit(p.wait())", *words)  # fmt: skip
    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_log_on_a_full_disk_is_one_sentence():
    with open("/dev/full", "w") as full:
        words = ["scripts/benchmark.py", "colour", "--dry-run"]
        ended = script(*words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (ended.returncode, ended.stderr) == (1, "[Errno 28] No space left on device\n")


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """A power cut must not leave a checkpoint's name on an empty file."""
    synced, replace = [], os.replace

    def sync(number):
        synced.append((os.readlink(f"/proc/self/fd/{number}"), os.fstat(number).st_size))

    def named(old, new):
        assert synced[-1] == (str(old), os.stat(old).st_size)
        replace(old, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", named)
    nsgan.train(args(nsgan, tmp_path))
    assert {Path(path).name for path, _ in synced} >= {"checkpoint.pt.tmp", "result.json.tmp", "metrics.jsonl"}


def test_full_disk_leaves_nothing_half_written(tmp_path):
    """A limit on the size of files stands for the full disk; the checkpoint is the first file over it."""
    run = args(nsgan, tmp_path, steps=4, width=64, resume=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        for _ in range(2):
            with pytest.raises(RunError, match="checkpoint.pt cannot be written: File too large"):
                nsgan.train(run)
            folder = tmp_path / "nsgan-ring-s1"
            left = {f.name for f in folder.rglob("*")}
            assert left == {"config.json", "metrics.jsonl", "samples", "000002.png", "000004.png"}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    nsgan.train(run)  # there is space again
    assert (folder / "result.json").exists() and [*tmp_path.iterdir()] == [folder]


# --- what it says on the way


@pytest.mark.parametrize("size", [1.0, -1.2345678e-30, 1e38, None])
def test_a_short_line_has_at_most_79_columns_and_the_numbers_that_matter_first(size):
    names = ["d_loss", "d_real", "d_fake", "g_loss", "k", "M", "g_grad", "coverage", "js", "high_quality", "modes"]
    line = short_line(123456, dict.fromkeys(names, size))
    assert len(line) <= 79 and line.startswith("step 123456  coverage ")
    assert line.index("high_quality") < line.index("d_loss")
    swd = short_line(1, {"d_loss": size, "swd": size})
    assert swd.index("swd") < swd.index("d_loss")


def test_it_soon_says_how_long_it_will_take(tmp_path, monkeypatch, capsys):
    """Once, after five seconds of a clock that is made here: each of 63 updates takes two."""
    now = [100.0]
    monkeypatch.setattr("common.run.time", SimpleNamespace(perf_counter=lambda: now[0]))

    def two_seconds(step, local):
        now[0] += 2

    at_each_log(monkeypatch, two_seconds)
    nsgan.train(args(nsgan, tmp_path, steps=63, log_every=63))
    said = [line for line in capsys.readouterr().out.splitlines() if "to go" in line]
    assert len(said) == 1 and "0.5 updates a second" in said[0] and "2.0 min" in said[0]
    assert json.loads((tmp_path / "nsgan-ring-s1" / "result.json").read_text())["seconds"] == 126
    for steps, left in [(62, "about 118 s to go"), (6, "about 6 s to go"), (5, None), (3, None)]:
        nsgan.train(args(nsgan, tmp_path, steps=steps, log_every=steps))
        said = [line for line in capsys.readouterr().out.splitlines() if "to go" in line]
        assert [line.endswith(left) for line in said] == [True] if left else not said


def on_a_terminal(words):
    """Runs `python words...` with all three streams on a terminal of 80 columns: its exit code and all it drew."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, *map(str, words)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    alarm = threading.Timer(900, process.kill)  # a prompt that waits would wait for ever
    alarm.start()
    drawn = b""
    try:
        while part := os.read(main, 4096):
            drawn += part
    except OSError:  # the other end closed
        pass
    os.close(main)
    code = process.wait()
    alarm.cancel()
    return code, drawn.decode()


def screen(drawn):
    """What stands on a terminal's lines: a carriage return begins the line again, what is written covers the old."""
    lines, row, column = [[]], 0, 0
    for text in re.split(r"(\r|\n|\x1b\[A|\x1b\[[0-9;]*[A-Za-z])", drawn):
        if text == "\r":
            column = 0
        elif text == "\n":
            row += 1
            lines += [[]] if row == len(lines) else []
        elif text == "\x1b[A":
            row -= 1
        elif not text.startswith("\x1b"):
            line = lines[row]
            line += [" "] * (column - len(line))
            line[column : column + len(text)] = text
            column += len(text)
    return ["".join(line).rstrip() for line in lines]


def test_on_a_terminal_each_log_is_one_line_above_the_bar_and_elsewhere_there_is_no_bar(tmp_path, capfd):
    words = ["--steps", "40", "--log-every", "10", "--device", "cpu", "--out", str(tmp_path)]
    code, drawn = on_a_terminal(["algos/nsgan.py", *words])
    assert code == 0 and "of 40 updates" in drawn
    lines = screen(drawn)
    assert all(len(line) < 80 for line in lines if str(tmp_path) not in line)
    first = next(i for i, line in enumerate(lines) if line.startswith("step "))
    logs = lines[first : first + 4]
    assert [line.split()[:3] for line in logs] == [["step", str(n), "coverage"] for n in (10, 20, 30, 40)]
    assert "d_loss" in logs[0] and "updates" not in "".join(lines)  # the bar is gone when all is done

    nsgan.train(parse(nsgan.Args, words=words))
    out, err = capfd.readouterr()
    assert err == "" and "\r" not in out
    assert out.splitlines()[1:5] == logs


def test_track_without_an_account_says_what_to_do(tmp_path):
    """In a job, where nobody can answer: on a terminal wandb asks."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    env |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}
    words = ["algos/nsgan.py", "--track", "--steps", 2, "--out", tmp_path / "out"]
    ended = script(*words, env=env, stdin=subprocess.DEVNULL)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "wandb login" in ended.stderr and "WANDB_MODE=offline" in ended.stderr and "no --track" in ended.stderr


def test_track_offline(tmp_path):
    env = {**os.environ, "WANDB_MODE": "offline", "HOME": str(tmp_path), "WANDB_SILENT": "true"}
    words = ["algos/nsgan.py", "--track", "--steps", 4, "--log-every", 2, "--out", tmp_path / "out"]
    ended = script(*words, env=env)
    assert ended.returncode == 0, ended.stderr
    (folder,) = (tmp_path / "out").iterdir()
    assert list(folder.rglob("run-*.wandb")) and len(list(folder.rglob("wandb/**/*.png"))) == 2
