"""Who draws good digits first: distance to MNIST against seconds, of our files and of other people's scripts.

    git clone https://github.com/eriklindernoren/PyTorch-GAN ../peers/PyTorch-GAN
    git clone https://github.com/LynnHo/DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch ../peers/DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch
    pip install tensorboardX oyaml scikit-image && python scripts/race.py ../peers --data-root data

Every command runs as it is, for the same seconds and on the same CPU core, one after another. Its G is kept at fixed
times after the start of the command, imports included; then a classifier of MNIST judges 10,000 samples of each, as in
the suites of scripts/benchmark.py. What was measured stays: the same command goes on. Results: results/speed/<device>/.
"""

import os
import sys
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
from common.draw import as_bytes
from scripts.benchmark import IMAGES, image_set, measure_images
from scripts.lib import foreign
from scripts.lib.command import command
from scripts.lib.foreign import Script, lynnho, pytorch_gan
from scripts.lib.suites import FIRST_SEED
from scripts.lib.tables import read_rows, table
from scripts.lib.timing import folder_of, keep, write_page
from scripts.lib.variants import file_of
from scripts.speed import HABITS

MARKS = (15, 30, 45, 60, 90, 120, 150, 180, 210, 240, 270, 300)  # seconds after the start of a command
ENDS = (60, 120, 180, 240, 300)  # of the columns of the table
TARGET = 2.0  # fid
CPU = torch.device("cpu")


@dataclass
class Args:
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """folder with the clones of the other repositories"""
    data_root: str = "data"
    """folder with MNIST"""


def ours(algo: str, change: str = "", flags: str = "", seed: int = FIRST_SEED) -> tuple[Script, str]:
    flags = f"--dataset mnist --data-root data/MNIST --seed {seed} {flags}"
    return Script(str(file_of(algo, change)), flags, (64,), "G", "D", "g_opt"), "eval"


def racers() -> dict[str, tuple[Script, str]]:
    """All scripts, with the mode in which they draw their own pictures."""
    found = {f"algos/{algo}.py": ours(algo) for algo in ("r1", "nsgan")}
    found |= {"algos/r1.py, the common way": ours("r1", "common"), "algos/r1.py, float32": ours("r1", flags="--no-amp")}
    found |= {"PyTorch-GAN's dcgan.py": (pytorch_gan("dcgan"), "train")}
    lynnhos = ("gan", "dragan", "wgan-gp")
    return found | {f"LynnHo's train.py, {name}": (lynnho(name, "--dataset mnist"), "eval") for name in lynnhos}


def taken_away() -> dict[str, tuple[Script, str]]:
    """One of our files without each of its tricks, and with another seed, which says what is chance."""
    found = {f"algos/r1.py, {habit}": ours("r1", name) for name, habit in HABITS.items()}
    return found | {"algos/r1.py, another seed": ours("r1", seed=FIRST_SEED + 1)}


def samples_of(script: Script, mode: str, folder: Path, root: str) -> dict[float, Tensor]:
    """Samples of a script as ours are, uint8 and 28x28 with a border, by the seconds of which they are."""
    args = (script.noise, script.G, mode, str(Path(root, "MNIST").resolve()), MARKS, IMAGES)
    core, variables = str(max(os.sched_getaffinity(0))), {"BEGIN": str(time.time()), "CUDA_VISIBLE_DEVICES": ""}
    found = foreign.run(script, folder, "scripts.lib.foreign:sampled", *args, core=core, **variables)
    found = {seconds: as_bytes(images) for seconds, images in found.items()}
    return found if script.optimiser == "g_opt" else {seconds: padded(images) for seconds, images in found.items()}


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

    figure = Figure(figsize=(9, 4))
    ax = figure.subplots()
    for who in dict.fromkeys(row["who"] for row in rows):
        points = sorted((float(row["seconds"]), float(row["fid"])) for row in rows if row["who"] == who)
        kind = "-" if who.startswith("algos") else "--"
        ax.plot(*zip(*points, strict=True), kind, marker=".", label=who, linewidth=2 if kind == "-" else 1)
    ax.axhline(TARGET, color="grey", linewidth=0.8, linestyle=":")
    ax.set(yscale="log", xlabel="seconds after pressing Enter, one CPU core", ylabel="FID (features of a classifier)")
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def times(rows: list[dict]) -> list[str]:
    """A table: when the target was reached first, and the best within some times, up to those that were measured."""
    last = max(float(row["seconds"]) for row in rows)
    ends = [seconds for seconds in ENDS if seconds <= last]
    cells = []
    for who in dict.fromkeys(row["who"] for row in rows):
        these = sorted((float(row["seconds"]), float(row["fid"])) for row in rows if row["who"] == who)
        reached = next((f"{seconds:.0f}" for seconds, fid in these if fid <= TARGET), "-")
        # G is kept at the end of the update in which its mark fell, at most two seconds later
        best = [min((fid for seconds, fid in these if seconds < end + 2), default=None) for end in ends]
        cells.append([who, reached, *("-" if fid is None else f"{fid:.3g}" for fid in best)])
    return table(["", f"seconds to {TARGET}", *(f"best within {end} s" for end in ends)], cells)


def parted(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    """The rows of the race, and those of the single tricks."""
    tricks = taken_away()
    return [row for row in rows if row["who"] not in tricks], [row for row in rows if row["who"] in tricks]


TRICKS = """`r1.py` with each of its tricks taken away by itself: the line that most implementations have instead. The
way to the samples is another one after the first rounding, so a distance may differ by chance, as with another seed."""


def page(rows: list[dict]) -> list[str]:
    """The race, its picture and, where they were measured, the single tricks."""
    race, tricks = parted(rows)
    lines = [*times(race), "![distance against seconds](race.png)"]
    return [*lines, "", TRICKS, "", *times(tricks)] if tricks else lines


ABOUT = """FID is of a small classifier's features, not of Inception's. Other people's scripts stretch the 28x28 digits
to 32x32; their samples are brought back and padded as ours are. For comparison: other real images {:.2g}, these,
stretched and brought back {:.2g}."""


def main(args: Args) -> None:
    folder, out, found = Path(args.folder).resolve(), folder_of(CPU), racers() | taken_away()
    path, how = out / "race.csv", __doc__.strip().split("\n\n")[2]
    if said := foreign.missing(folder, [script for script, _ in found.values()]):
        raise RunError(said)
    real, others, stacked, net, name = image_set("mnist", str(Path(args.data_root).resolve()), CPU)

    def fid(images: Tensor) -> float:
        return measure_images(images, real, stacked, net, name, CPU)["fid"]

    rows = read_rows(path) if path.exists() else []
    for who, (script, mode) in found.items():
        if who not in {row["who"] for row in rows}:
            images = samples_of(script, mode, folder, args.data_root)
            these = [{"who": who, "seconds": seconds, "fid": fid(x)} for seconds, x in images.items()]
            rows = keep(path, these, CPU)
            print(who, *(f"{row['seconds']:.0f} s: {row['fid']:.3g}" for row in these), sep="  ")
    stretched = F.interpolate(others.float()[:, :, 2:-2, 2:-2], (32, 32), mode="bilinear").round().byte()
    about = ABOUT.format(fid(others), fid(padded(stretched)))
    write_page(out / "race.md", "a race on MNIST", "race.py ../peers", CPU, rows, [how, "", about, "", *page(rows)])
    picture(parted(rows)[0], out / "race.png")
    print((out / "race.md").read_text())


if __name__ == "__main__":
    command(main, Args, __doc__)
