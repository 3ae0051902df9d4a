"""What a run leaves behind, and what it says of bad input: one clear line, no traceback, before any work."""

import fcntl
import json
import math
import os
import pty
import resource
import struct
import subprocess
import sys
import termios
import threading

import numpy as np
import pytest
import torch
import tyro
from conftest import ALGOS, ROOT, script
from PIL import Image

from common.run import Run


def args(algo, tmp_path, **options):
    common = {"steps": 6, "log_every": 2, "width": 8, "device": "cpu", "out": str(tmp_path)}
    return algo.Args(**{**common, **options})


def test_a_run_on_points_leaves_everything(algo, tmp_path):
    result = algo.train(args(algo, tmp_path))
    (folder,) = tmp_path.iterdir()
    assert sorted(f.name for f in folder.iterdir()) == [
        "checkpoint.pt", "config.json", "metrics.jsonl", "result.json", "samples", "training.gif",
    ]  # fmt: skip
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    two = hasattr(algo, "discriminator1_loss")
    always = {"d1_real", "d1_fake", "d2_real", "d2_fake"} if two else {"d_real", "d_fake"}
    always |= {"d_loss", "g_loss", "g_grad", "steps_per_second"}
    measured = {"coverage", "js", "high_quality", "modes", "reverse_kl"}
    assert [row["step"] for row in rows] == [2, 4, 6] and all(always | measured <= row.keys() for row in rows)
    written = json.loads((folder / "result.json").read_text())
    assert {k: written[k] for k in result} == result and result["w1"] > 0 and result["step"] == 6
    assert written["exact_sampler"]["coverage"] == 8 and written["exact_sampler"]["w1"] < 0.5
    config = json.loads((folder / "config.json").read_text())
    assert config["args"]["width"] == 8 and config["torch"] == torch.__version__ and config["device"]
    assert [f.name for f in sorted((folder / "samples").iterdir())] == [
        "000002.png",
        "000004.png",
        "000006.png",
    ]
    film = Image.open(folder / "training.gif")
    assert film.n_frames >= 2 and film.size == Image.open(folder / "samples" / "000006.png").size
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 6


def test_a_run_on_images_leaves_a_grid(algo, tmp_path, tiny_images):
    result = algo.train(args(algo, tmp_path / "out", **tiny_images))
    (folder,) = (tmp_path / "out").iterdir()
    picture = Image.open(folder / "samples" / "000006.png")
    assert picture.mode == "RGB" and picture.size == (512, 512)  # 8 x 8 images, enlarged to be seen
    assert result["swd"] > 0 and "coverage" not in result and not (folder / "training.gif").exists()


def test_numbers_in_the_log_are_those_of_the_step(algo, tmp_path, monkeypatch):
    """g_grad is the norm of the gradient in all of G's weights, d_real and d_fake are means over the batch."""
    expected = {}
    log = Run.log

    def record(self, step, numbers, data, fake):
        G = sys._getframe(1).f_locals["G"]
        expected["g_grad"] = torch.cat([p.grad.flatten() for p in G.parameters()]).norm().item()
        for name in numbers:
            if name.endswith(("_real", "_fake")):
                assert numbers[name].shape == (algo.Args().batch_size // (2 if hasattr(algo, "pack") else 1),)
                expected[name] = sum(numbers[name].tolist()) / len(numbers[name])
        log(self, step, numbers, data, fake)

    monkeypatch.setattr(Run, "log", record)
    result = algo.train(args(algo, tmp_path, steps=3, log_every=3))
    assert {name: result[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert expected["g_grad"] > 0 and len(expected) in (3, 5)


def test_points_use_one_thread_and_images_all_even_after_points(tmp_path, monkeypatch):
    from algos import nsgan

    monkeypatch.setattr("common.run.THREADS", 2)
    try:
        for dataset, threads in [("ring", 1), ("mnist", 2), ("grid", 1)]:
            Run("x.py", args(nsgan, tmp_path, dataset=dataset))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)


def test_a_long_film_opens_few_files_and_keeps_the_order_and_the_last(tmp_path):
    """Thousands of pictures, past step 999999: at most 201 frames, by number, without running out of files."""
    from algos import nsgan

    run = Run("x.py", args(nsgan, tmp_path))
    run.folder = tmp_path
    (tmp_path / "samples").mkdir()
    for step in range(999_700, 1_000_300):
        shade = (step - 999_700) // 3
        Image.new("L", (4, 4), shade).save(tmp_path / "samples" / f"{step:06d}.png")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        run.finish({}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    film, shades = Image.open(tmp_path / "training.gif"), []
    for frame in range(film.n_frames):
        film.seek(frame)
        shades.append(film.convert("L").getpixel((0, 0)))
    assert 150 < len(shades) <= 201 and shades == sorted(shades) and shades[-1] == 199


@pytest.mark.parametrize("decay", [True, False])
def test_learning_rate_falls_linearly_to_zero(algo, decay, tmp_path, monkeypatch):
    rates = []
    due = Run.due

    def record(self, step):
        rates.append(sys._getframe(1).f_locals["g_opt"].param_groups[0]["lr"].item())
        return due(self, step)

    monkeypatch.setattr(Run, "due", record)
    algo.train(args(algo, tmp_path, steps=5, lr=1.0e-3, lr_decay=decay))
    expected = [1e-3, 0.8e-3, 0.6e-3, 0.4e-3, 0.2e-3] if decay else [1e-3] * 5
    assert rates == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_loss_stops_the_run(algo, bad, tmp_path, monkeypatch):
    """It says the step, the values and what to try; the row has null; the last good checkpoint stays."""
    due = Run.due

    def poison(self, step):
        if step == 5:
            local = sys._getframe(1).f_locals
            local["numbers"]["d_loss"] = torch.tensor(bad)
        return due(self, step)

    monkeypatch.setattr(Run, "due", poison)
    with pytest.raises(SystemExit) as end:
        algo.train(args(algo, tmp_path, log_every=1, checkpoint_every=2))
    assert f"step 5: d_loss {bad}" in str(end.value) and "--lr" in str(end.value)
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["d_loss"] is None
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 4
    assert not (folder / "result.json").exists()


def test_weights_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    from algos import nsgan

    due = Run.due

    def poison(self, step):
        if step == 3:
            with torch.no_grad():
                next(sys._getframe(1).f_locals["D"].parameters()).fill_(math.nan)
        return due(self, step)

    monkeypatch.setattr(Run, "due", poison)
    with pytest.raises(SystemExit, match="step 3: D is not finite"):
        nsgan.train(args(nsgan, tmp_path, log_every=100, checkpoint_every=1))
    assert torch.load(tmp_path / "nsgan-ring-s1" / "checkpoint.pt", weights_only=True)["step"] == 2


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("steps", 0), ("batch_size", 0), ("d_steps", 0), ("z_dim", -1), ("width", -1), ("seed", -1), ("log_every", 0),
        ("seed", 2**63), ("lr", 1e39),
        ("checkpoint_every", 0), ("lr", 0.0), ("lr", -1e-3), ("lr", math.nan), ("lr", math.inf), ("beta1", 1.0),
        ("beta2", -0.1), ("image_size", 48), ("image_size", 8), ("lambda_", -1.0), ("lambda_", math.nan),
        ("packing", 0), ("clip", -0.1), ("unroll_steps", -1), ("noise_variance", -1.0), ("gamma", -0.5),
    ],
)  # fmt: skip
def test_bad_numbers(algo, flag, value, tmp_path):
    if not hasattr(algo.Args, flag):
        pytest.skip("not a flag of this file")
    with pytest.raises(SystemExit, match=f"^--{flag.strip('_').replace('_', '-')} .*must be"):
        algo.train(args(algo, tmp_path / "out", **{flag: value}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "flag", "value", "said"),
    [
        ("dragan", "noise", "gauss", "--noise gauss: must be one of normal, uniform"),
        ("dual_d_selu", "loss", "Hinge", "--loss Hinge: must be one of paper, eq6, hinge"),
        ("nsgan", "dataset", "rings", "--dataset rings: must be one of ring, grid"),
        ("nsgan", "steps", 20.0, "--steps 20.0: must be of type int"),
        ("nsgan", "steps", True, "--steps True: must be of type int"),
        ("nsgan", "seed", "2", "--seed 2: must be of type int"),
        ("nsgan", "lr", "1e-3", "--lr 1e-3: must be of type float"),
        ("nsgan", "amp", 1, "--amp 1: must be of type bool"),
        ("nsgan", "out", ALGOS, "--out .*: must be of type str"),
        ("wgan_gp", "lambda_", "10", "--lambda 10: must be of type float"),
    ],
)
def test_what_tyro_refuses_is_refused_from_python_too(name, flag, value, said, tmp_path):
    with pytest.raises(SystemExit, match=f"^{said}"):
        ALGOS[name].train(args(ALGOS[name], tmp_path / "out", **{flag: value}))


@pytest.mark.parametrize("lr", [1, np.float64(0.1)])
def test_a_whole_number_or_numpys_will_do_for_a_float(lr, tmp_path):
    assert ALGOS["wgan_gp"].train(args(ALGOS["wgan_gp"], tmp_path, lambda_=10, steps=1, lr=lr))["step"] == 1


def test_codes_of_lsgan_may_be_negative(tmp_path):
    lsgan = ALGOS["lsgan"]
    coded = tyro.cli(lsgan.Args, args="--a -1 --b 1 --c 0 --steps 1 --width 4 --device cpu".split())
    coded.out = str(tmp_path)
    assert coded.a == -1 and lsgan.train(coded)["step"] == 1
    coded.a = math.nan
    with pytest.raises(SystemExit, match="--a nan: must be finite"):
        lsgan.train(coded)


@pytest.mark.parametrize("words", [["--dataset", "rings"], ["--lamda", "1"], ["--steps", "many"], ["--lambda_", "1"]])
def test_bad_words(words, capsys):
    """tyro names the flag and the choices."""
    with pytest.raises(SystemExit) as end:
        tyro.cli(ALGOS["wgan_gp"].Args, args=words)
    assert end.value.code == 2
    message = "".join(capsys.readouterr())
    assert words[0] in message and "Traceback" not in message
    assert words[0] != "--dataset" or all(name in message for name in ("ring", "stacked_mnist", "folder"))


def test_the_flag_is_lambda():
    assert tyro.cli(ALGOS["wgan_gp"].Args, args=["--lambda", "3"]).lambda_ == 3.0


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_missing_device(device, tmp_path):
    from algos import nsgan

    with pytest.raises(SystemExit, match=f"--device {device}: not on this machine"):
        nsgan.train(args(nsgan, tmp_path / "out", device=device))
    assert not (tmp_path / "out").exists()


def test_unwritable_out(tmp_path):
    from algos import nsgan

    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="--out .* cannot be written to"):
        nsgan.train(args(nsgan, tmp_path / "file"))


def test_missing_data_leaves_no_folder(algo, tmp_path):
    with pytest.raises(SystemExit, match="no folder of images"):
        algo.train(args(algo, tmp_path / "out", dataset="folder", data_root=str(tmp_path / "nothing")))
    assert [*(tmp_path / "out").iterdir()] == []


def test_script_says_it_in_one_line(tmp_path):
    """The whole program: one line on stderr, exit code 1, no traceback."""
    ended = script("algos/wgan_gp.py", "--lambda", "-1", "--out", tmp_path / "out")
    assert ended.returncode == 1 and ended.stdout == "" and "Traceback" not in ended.stderr
    assert ended.stderr.endswith("--lambda -1.0: must be finite and not negative\n")


def test_full_disk_leaves_nothing_half_written(tmp_path):
    """A limit on the size of files stands for the full disk; the checkpoint is the first file over it."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    words = ["algos/nsgan.py", "--steps", 4, "--log-every", 2, "--device", "cpu", "--out", tmp_path]
    ended = script(*words, preexec_fn=limit)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "checkpoint.pt cannot be written: File too large" in ended.stderr
    left = {f.name for f in (tmp_path / "nsgan-ring-s1").rglob("*")}
    assert left == {".lock", "config.json", "metrics.jsonl", "samples", "000002.png", "000004.png"}
    ended = script(*words, "--resume")  # there is space again
    assert ended.returncode == 0 and (tmp_path / "nsgan-ring-s1" / "result.json").exists()


def test_a_row_is_appended_whole_or_not_at_all(tmp_path):
    from algos import nsgan

    run = Run("x.py", args(nsgan, tmp_path))
    run.folder = tmp_path
    run._write("rows", b"first\n", append=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(SystemExit, match="rows cannot be written"):
            run._write("rows", b"second\n", append=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "rows").read_bytes() == b"first\n"


def on_a_terminal(words, env=None):
    """Runs `python words...` with stdin, stdout and stderr on a terminal; returns its exit code and all it drew."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, *map(str, words)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    alarm = threading.Timer(90, process.kill)  # a prompt that waits would wait for ever
    alarm.start()
    drawn = b""
    try:
        while part := os.read(main, 4096):
            drawn += part
    except OSError:  # the other end closed
        pass
    os.close(main)
    code = process.wait(timeout=90)
    alarm.cancel()
    return code, drawn.decode()


def test_progress_bar_on_a_terminal_and_lines_elsewhere(tmp_path):
    words = ["algos/nsgan.py", "--steps", 40, "--log-every", 10, "--device", "cpu", "--out", tmp_path]
    code, drawn = on_a_terminal(words)
    assert code == 0 and "40/40" in drawn and "step     10" not in drawn
    ended = script(*words)
    assert "\r" not in ended.stdout + ended.stderr
    assert [line[:11] for line in ended.stdout.splitlines()[1:5]] == [f"step {n:>6}" for n in (10, 20, 30, 40)]


def test_track_without_an_account_ends_at_once(tmp_path):
    """Even on a terminal, where wandb would ask and wait."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    env |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}
    words = ["algos/nsgan.py", "--track", "--steps", 2, "--out", tmp_path / "out"]
    code, drawn = on_a_terminal(words, env)
    assert code == 1 and "Traceback" not in drawn
    assert "wandb login" in drawn and "WANDB_MODE=offline" in drawn and "leave --track out" in drawn
    assert [*(tmp_path / "out").iterdir()] == []


def test_track_offline(tmp_path):
    env = {**os.environ, "WANDB_MODE": "offline", "HOME": str(tmp_path), "WANDB_SILENT": "true"}
    words = ["algos/nsgan.py", "--track", "--steps", 4, "--log-every", 2, "--out", tmp_path / "out"]
    ended = script(*words, env=env)
    assert ended.returncode == 0, ended.stderr
    (folder,) = (tmp_path / "out").iterdir()
    assert list(folder.rglob("run-*.wandb")) and len(list(folder.rglob("wandb/**/*.png"))) == 2
