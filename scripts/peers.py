"""How fast the files are beside other people's training scripts, on those scripts' own networks.

    git clone https://github.com/eriklindernoren/PyTorch-GAN ../peers/PyTorch-GAN
    git clone https://github.com/LynnHo/DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch ../peers/DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch
    git clone https://github.com/pytorch/examples ../peers/examples
    pip install tensorboardX oyaml scikit-image && python scripts/peers.py ../peers

Their scripts run as they are: their loops, optimisers and printing, with a DataLoader in the main process. Beside each
one of our files trains copies of its networks, without the last sigmoid, on images of the same shape and in batches of
the same size. Only the images are random ones. The two in turn, in one process; results go to results/speed/<device>/.
"""

import copy
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: times of one core

import torch
import torch.nn as nn
import tyro
from PIL import Image
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.args import RunError, check
from common.device import pick_device
from scripts.lib import foreign
from scripts.lib.command import command
from scripts.lib.foreign import Script, lynnho, pytorch_gan
from scripts.lib.inside import settings_of
from scripts.lib.tables import short, table, two_decimals
from scripts.lib.timing import folder_of, keep, ratio, seconds, stopwatch, write_page
from scripts.speed import noise, opened


@dataclass
class Args:
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """folder with the clones of the other repositories"""
    rounds: int = 7
    """how often each script and each of our files is timed, in turn; the median counts"""


@dataclass(frozen=True)
class Case:
    """A script of a peer and the file of ours that does the same."""

    script: Script
    algo: str
    shape: tuple[int, int, int] = (1, 32, 32)
    """of its images"""
    d_steps: int = 1
    one_pass: bool = False
    """whether both its players have the same generated samples, of one pass of G"""


BATCH = 64  # of all these scripts
DCGAN = Script("examples/dcgan/main.py", "--dataset cifar10 --dataroot .", (100, 1, 1), "netG", "netD", "optimizerG")
CASES = [
    Case(pytorch_gan("gan"), "nsgan", (1, 28, 28), one_pass=True),
    Case(pytorch_gan("wgan"), "wgan", (1, 28, 28), d_steps=5),
    Case(pytorch_gan("wgan_gp"), "wgan_gp", (1, 28, 28), d_steps=5),
    Case(pytorch_gan("dcgan"), "nsgan", one_pass=True),
    Case(pytorch_gan("lsgan"), "lsgan", one_pass=True),
    Case(lynnho("gan"), "nsgan"),
    Case(lynnho("lsgan"), "lsgan"),
    Case(lynnho("wgan-gp"), "wgan_gp", d_steps=5),
    Case(lynnho("dragan"), "dragan"),
    Case(DCGAN, "nsgan", (3, 64, 64), one_pass=True),
]


@dataclass
class Noise:
    """Random images in the place of torchvision's data sets."""

    images: list[Image.Image]
    transform: Callable

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), 0


class Borrowed(nn.Module):
    """A copy of a peer's network behind our shapes: noise [B, z_dim] in, or scores [B] out, without a sigmoid."""

    def __init__(self, network: nn.Module, noise: tuple[int, ...] = ()):
        super().__init__()
        self.network, self.noise = copy.deepcopy(network), noise
        for module in [*self.network.modules()]:
            for name, child in module.named_children():
                if isinstance(child, nn.Sigmoid):
                    setattr(module, name, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.unflatten(1, self.noise)) if self.noise else self.network(x).flatten()


def ours(case: Case, G: nn.Module, D: nn.Module, device: str, changes: list[str] = (), **args) -> dict:
    """The local variables of our train() with changes of scripts/lib/variants.py, on copies of the peer's networks."""
    channels, size, _ = case.shape
    args |= {"dataset": f"{size}x{size}x{channels}", "batch_size": BATCH, "d_steps": case.d_steps, "graph": True}
    networks = Borrowed(G, case.script.noise), Borrowed(D)
    with mock.patch("common.run.own_data", lambda data, _: data):  # of any size: only our networks need a power of two
        return opened(case.algo, changes, networks, z_dim=case.script.noise[0], device=device, **args)


def timed(found: dict, case: dict, name: str) -> Iterator[None]:
    """A visitor: `found` gets the seconds per update of G with those of D, of the script and of our file in each way.

    The script gets random images, and a DataLoader without workers, as their time would not be this process's.
    """
    import torchvision

    case = Case(**case | {"script": Script(**case["script"])})
    device, load = torch.device(name), torch.utils.data.DataLoader
    torch.utils.data.DataLoader = lambda *args, **options: load(*args, **options | {"num_workers": 0})
    for dataset, size, channels in [("MNIST", 28, 1), ("FashionMNIST", 28, 1), ("CIFAR10", 32, 3)]:
        images = [Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()) for image in noise(size, channels)]
        setattr(torchvision.datasets, dataset, lambda *_, transform, images=images, **__: Noise(images, transform))
    variables = yield
    found["theirs"] = yield from stopwatch(device, block=1)
    torch.backends.cudnn.benchmark = False  # ours are without what a script may have set
    Tensor.view = Tensor.reshape  # as ours have channels last, which view refuses
    for way in [*WAYS] if case.one_pass else ["ours", "amp"]:
        changes = ["one_pass"] if "one pass" in way else []
        local = ours(case, variables[case.script.G], variables[case.script.D], name, changes, amp="amp" in way)
        with settings_of(local):
            found[way] = seconds(local["update"], device, block=1)


def measure(case: Case, folder: Path, device: torch.device, rounds: int) -> dict:
    """One row: milliseconds per update, and how many times as fast ours is. In each round all are made anew."""
    script = case.script
    if script == DCGAN and device.type == "cuda":
        script = replace(script, flags=f"{script.flags} --accel")
    found = [foreign.run(script, folder, "scripts.peers:timed", asdict(case), str(device)) for _ in range(rounds)]
    times = {name: [these[name] for these in found] for name in found[0]}
    git = ["git", "-C", (folder / script.path).parent, "rev-parse", "--short", "HEAD"]
    row = {"script": script.path, "flags": case.script.flags, "algo": case.algo}
    row |= {"shape": "x".join(map(str, case.shape))}
    row |= {f"{name} ms": 1e3 * statistics.median(values) for name, values in times.items()}
    row |= {f"{name} ratio": ratio(times, "theirs", name) for name in times if name != "theirs"}
    return row | {"revision": subprocess.run(git, capture_output=True, text=True).stdout.strip()}


ABOUT = """One update of G with its updates of D, in batches of 64: other people's scripts as they are, and our file
with copies of the same networks on random images of the same shape. Theirs draw batches from a DataLoader, in the main
process. The scripts with numbers under "one pass of G" train both players on the same generated samples, the others and
ours draw new ones for G's step, as in algorithm 1 of Goodfellow et al. 2014; there our file is changed to do the same.
Times: of the process, medians over the rounds; times as fast: medians of the rounds' ratios. PyTorch-GAN's dragan.py
and began.py end with an error in their first update."""
WAYS = {"ours": "ours", "amp": "in bfloat16"}  # of our file
WAYS |= {"one pass": "one pass of G", "one pass, amp": "one pass of G, in bfloat16"}


def page(rows: list[dict]) -> list[str]:
    head = ["script", "revision", "our file", "images", "theirs, ms", "ours, ms"]
    head += [f"{way}, times as fast" for way in WAYS.values()]
    cells = []
    for row in rows:
        line = [f"`{' '.join([row['script'], row['flags']]).strip()}`", row["revision"], f"`{row['algo']}.py`"]
        line += [row["shape"], *(short(row[f"{name} ms"]) for name in ("theirs", "ours"))]
        ratios = [row[f"{way} ratio"] for way in WAYS]
        cells.append([*line, *map(two_decimals, ratios)])
    return table(head, cells)


def main(args: Args) -> None:
    check(args)
    folder = Path(args.folder).resolve()
    if said := foreign.missing(folder, [case.script for case in CASES]):
        raise RunError(said)
    device = pick_device("auto")  # the scripts take a GPU where there is one
    out = folder_of(device)
    for case in tqdm(CASES):
        rows = keep(out / "peers.csv", [measure(case, folder, device, args.rounds)], device)
    lines = page(rows)
    write_page(
        out / "peers.md", "beside other people's scripts", "peers.py ../peers", device, rows, [ABOUT, "", *lines]
    )
    print("\n".join(lines), f"written to {out}", sep="\n")


if __name__ == "__main__":
    command(main, Args, __doc__)
