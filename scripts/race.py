"""Who draws good digits first: distance to MNIST against seconds, of our files and of other people's scripts.

    git clone https://github.com/eriklindernoren/PyTorch-GAN ../peers/PyTorch-GAN
    git clone https://github.com/LynnHo/DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch ../peers/DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch
    pip install tensorboardX oyaml scikit-image && python scripts/race.py ../peers --data-root data

Every command runs as it is, for the same seconds and on the same CPU core, one after another. Its G is kept at fixed
times after the start of the command, imports included; then a classifier of MNIST judges 10,000 samples of each, as in
the suites of scripts/benchmark.py. What was measured stays: the same command goes on. Results: results/speed/<device>/.
"""

import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.args import RunError
from common.device import environment
from scripts.benchmark import IMAGES, image_set, measure_images
from scripts.lib.command import command
from scripts.lib.suites import FIRST_SEED, ROOT
from scripts.lib.tables import read_rows, table
from scripts.lib.trained import Trained
from scripts.lib.variants import module_of, variant
from scripts.speed import RESULTS, device_name, keep

MARKS = (15, 30, 45, 60, 90, 120, 150, 180, 210, 240)  # seconds after the start of a command
TARGET = 2.0  # fid
CPU = torch.device("cpu")
LYNNHO = "DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch/train.py --dataset mnist"
TRICKS = {"the common way": "common", "float32": "no-amp"}
PEERS = {  # title: script and flags, G, its optimiser, whether it draws its own samples in eval mode
    "PyTorch-GAN's dcgan.py": ("PyTorch-GAN/implementations/dcgan/dcgan.py", "generator", "optimizer_G", "train"),
    "LynnHo's train.py, gan": (f"{LYNNHO} --adversarial_loss_mode gan", "G", "G_optimizer", "eval"),
    "LynnHo's train.py, dragan": (
        f"{LYNNHO} --adversarial_loss_mode gan --gradient_penalty_mode 1-gp --gradient_penalty_sample_mode dragan",
        "G",
        "G_optimizer",
        "eval",
    ),
    "LynnHo's train.py, wgan-gp": (
        f"{LYNNHO} --adversarial_loss_mode wgan --gradient_penalty_mode 1-gp --gradient_penalty_sample_mode line "
        "--n_d 5",
        "G",
        "G_optimizer",
        "eval",
    ),
}  # fmt: skip


@dataclass
class Args:
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """folder with the clones of the other repositories"""
    algos: tuple[str, ...] = ("r1", "nsgan")
    """our files; of the first also what it is without each trick"""
    core: int = -1
    """the number of the CPU core that all of them run on; default: the last one"""
    data_root: str = "data"
    """folder with MNIST"""


def run(words: list[str], folder: Path, core: int, limit: float, watch=lambda seconds: None) -> None:
    """Runs a command on one core for `limit` seconds, or to its end; `watch` is called with the seconds, often."""
    begin = time.time()
    variables = os.environ | {"OMP_NUM_THREADS": "1", "BEGIN": str(begin), "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *words], cwd=folder, env=variables, stdout=subprocess.DEVNULL,
        stderr=(folder / "errors").open("w"), start_new_session=True,
    )  # fmt: skip
    try:
        while process.poll() is None and time.time() - begin < limit:
            time.sleep(0.2)
            watch(time.time() - begin)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait()
    if process.returncode not in (0, -9):
        raise RunError(f"{' '.join(words)} failed: {(folder / 'errors').read_text().strip().splitlines()[-1:]}")


def ours(algo: str, flag: str, core: int, root: str) -> dict[float, Tensor]:
    """Samples of a file of ours, by the seconds at which the checkpoint that they are of was there."""
    file = variant(algo, "common") if flag == "common" else ROOT / "algos" / f"{algo}.py"
    words = [sys.executable, str(file), "--dataset", "mnist", "--seed", str(FIRST_SEED), "--data-root", root]
    words += [f"--{flag}"] if flag.startswith("no-") else []
    with tempfile.TemporaryDirectory() as out:
        kept: dict[float, Path] = {}

        def watch(now: float) -> None:
            for saved in Path(out).glob("runs/*/checkpoint.pt"):
                when = saved.stat().st_mtime_ns
                if when not in seen:
                    seen.add(when)
                    kept[now] = Path(out, str(when))
                    kept[now].mkdir()
                    os.link(saved, kept[now] / "checkpoint.pt")  # the run puts another file in its place
                    shutil.copy(saved.parent / "config.json", kept[now])

        seen: set[int] = set()
        run([*words, "--out", "runs", "--checkpoint-every", "100"], Path(out), core, MARKS[-1] + 1, watch)
        last = {mark: max((s for s in kept if s <= mark), default=None) for mark in MARKS}
        runs = {s: Trained(kept[s], CPU, module_of(f"algos/{algo}.py")) for s in dict.fromkeys(last.values()) if s}
        return {seconds: found.sample(found.latents(IMAGES)) for seconds, found in runs.items()}


def theirs(script: str, G: str, optimiser: str, mode: str, folder: Path, core: int, root: str) -> dict[float, Tensor]:
    """Samples of somebody else's script, by the seconds at which it was interrupted for them, which do not count."""
    path, *flags = script.split()
    watched = ROOT / "scripts" / "lib" / "watched.py"
    with tempfile.TemporaryDirectory() as top:
        here = Path(top, "1", "2")  # one of them writes to ../..
        for place in (here / "data" / "MNIST", Path(top, "data", "mnist")):
            place.mkdir(parents=True)
            (place / "MNIST").symlink_to(Path(root).resolve() / "MNIST")
        marks = " ".join(map(str, MARKS))
        words = [sys.executable, str(watched), top, G, optimiser, mode, marks, str(IMAGES), str(folder / path), *flags]
        run(words, here, core, math.inf)
        return {float(file.stem): padded(torch.load(file)) for file in Path(top).glob("*.pt")}


def padded(images: Tensor) -> Tensor:
    """Images that were stretched from 28x28 to 32x32, [N, 1, 32, 32], uint8, as 28x28 again and padded, as ours are.

    Stretching multiplies rows and columns by a matrix [32, 28]; its pseudo-inverse undoes that without a blur.
    """
    stretch = F.interpolate(torch.eye(28)[None], 32, mode="linear")[0].T
    back = torch.linalg.pinv(stretch)
    return F.pad((back @ images.float() @ back.T).round().clamp(0, 255).byte(), (2, 2, 2, 2))


def picture(rows: list[dict], path: Path) -> None:
    """The curves: distance, on a logarithmic axis, against seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    ax = figure.subplots()
    for who in dict.fromkeys(row["who"] for row in rows):
        points = sorted((float(row["seconds"]), float(row["fid"])) for row in rows if row["who"] == who)
        kind = "-" if who.startswith("algos") else "--"
        ax.plot(*zip(*points, strict=True), kind, marker=".", label=who, linewidth=2 if kind == "-" else 1)
    ax.axhline(TARGET, color="grey", linewidth=0.8, linestyle=":")
    ax.set(yscale="log", xlabel="seconds after pressing Enter, one CPU core", ylabel="FID (features of a classifier)")
    ax.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def page(rows: list[dict], floors: dict[str, float], facts: str) -> str:
    cells = []
    for who in dict.fromkeys(row["who"] for row in rows):
        these = sorted((float(row["seconds"]), float(row["fid"])) for row in rows if row["who"] == who)
        reached = next((f"{seconds:.0f}" for seconds, fid in these if fid <= TARGET), "-")
        best = [min((fid for seconds, fid in these if seconds <= most), default=None) for most in (60, 120, 180, 240)]
        cells.append([who, reached, *("-" if fid is None else f"{fid:.3g}" for fid in best)])
    head = ["", f"seconds to {TARGET}", *(f"best within {most} s" for most in (60, 120, 180, 240))]
    said = ", ".join(f"{name} {fid:.2g}" for name, fid in floors.items())
    lines = ["# Speed: a race on MNIST", "", "    python scripts/race.py ../peers", "", facts, ""]
    lines += [__doc__.strip().split("\n\n")[2].replace("\n", " "), ""]
    lines += ["FID is of a small classifier's features, not of Inception's. Other people's scripts stretch the 28x28 "]
    lines[-1] += f"digits to 32x32; their samples are brought back and padded as ours are. For comparison: {said}."
    return "\n".join([*lines, "", *table(head, cells), "![distance against seconds](race.png)", ""])


def main(args: Args) -> None:
    folder, cores = Path(args.folder).resolve(), sorted(os.sched_getaffinity(0))
    if missing := [script for script, *_ in PEERS.values() if not (folder / script.split()[0]).exists()]:
        raise RunError("not there: " + ", ".join(missing))
    core, root = cores[args.core], str(Path(args.data_root).resolve())
    out = RESULTS / re.sub(r"\W+", "-", device_name(CPU).lower()).strip("-")
    out.mkdir(parents=True, exist_ok=True)
    racers = {f"algos/{algo}.py": lambda algo=algo: ours(algo, "", core, root) for algo in args.algos}
    for title, flag in TRICKS.items():
        racers[f"algos/{args.algos[0]}.py, {title}"] = lambda flag=flag: ours(args.algos[0], flag, core, root)
    for title, peer in PEERS.items():
        racers[title] = lambda peer=peer: theirs(*peer, folder, core, root)
    real, others, stacked, net, name = image_set("mnist", root, CPU)

    def fid(images: Tensor) -> float:
        return measure_images(images, real, stacked, net, name, CPU)["fid"]

    made, path = environment(CPU), out / "race.csv"
    rows = read_rows(path) if path.exists() else []
    for who, race in racers.items():
        if who not in {row["who"] for row in rows}:
            found = [{"who": who, "seconds": s, "fid": fid(images)} for s, images in sorted(race().items())]
            rows = keep(path, [row | {"torch": made["torch"], "git": made["git"]} for row in found])
            print(who, *(f"{row['seconds']:.0f} s: {row['fid']:.3g}" for row in found), sep="  ")
    stretched = F.interpolate(others.float()[:, :, 2:-2, 2:-2], (32, 32), mode="bilinear")
    floors = {
        "other real images": fid(others),
        "these, stretched and brought back": fid(padded(stretched.round().byte())),
    }
    facts = f"{device_name(CPU)}; torch {made['torch']}, Python {made['python']}, revision {made['git']}."
    (out / "race.md").write_text(page(rows, floors, facts))
    picture(rows, out / "race.png")
    print(page(rows, floors, facts))


if __name__ == "__main__":
    command(main, Args, __doc__)
