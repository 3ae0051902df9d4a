"""How fast the files are beside other people's training scripts, on those scripts' own networks.

    git clone https://github.com/eriklindernoren/PyTorch-GAN ../peers/PyTorch-GAN
    git clone https://github.com/LynnHo/DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch ../peers/DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch
    git clone https://github.com/pytorch/examples ../peers/examples
    pip install tensorboardX oyaml scikit-image && python scripts/peers.py ../peers

Their scripts run as they are: their loops, optimisers and printing, with a DataLoader in the main process. Beside each
one of our files trains copies of its networks, without the last sigmoid, on images of the same shape and in batches of
the same size. Only the images are random ones. The two in turn, in one process; results go to results/speed/<device>/.
"""

import contextlib
import copy
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: times of one core

import torch
import torch.nn as nn
import tyro
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.args import RunError
from common.device import environment, pick_device
from scripts.lib.command import command
from scripts.lib.inside import settings_of
from scripts.lib.tables import short, table
from scripts.speed import RESULTS, device_name, keep, noise, opened, ratio, seconds


@dataclass
class Args:
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """folder with the clones of the other repositories"""
    rounds: int = 7
    """how often each script and each of our files is timed, in turn; the median counts"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""


@dataclass(frozen=True)
class Case:
    """A script of a peer and the file of ours that does the same."""

    script: str
    """its path, the clone first"""
    flags: str
    algo: str
    shape: tuple[int, int, int]
    """of its images"""
    noise: tuple[int, ...]
    """of a sample of its noise"""
    names: tuple[str, str, str] = ("generator", "discriminator", "optimizer_G")
    """what it calls G, D and G's optimiser"""
    d_steps: int = 1
    one_pass: bool = False
    """whether both its players have the same generated samples, of one pass of G"""


BATCH = 64  # of all these scripts
PYTORCH_GAN = "PyTorch-GAN/implementations"
LYNNHO = "DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch/train.py"
LYNNHOS = {"names": ("G", "D", "G_optimizer")}
CASES = [
    Case(f"{PYTORCH_GAN}/gan/gan.py", "", "nsgan", (1, 28, 28), (100,), one_pass=True),
    Case(f"{PYTORCH_GAN}/wgan/wgan.py", "", "wgan", (1, 28, 28), (100,), d_steps=5),
    Case(f"{PYTORCH_GAN}/wgan_gp/wgan_gp.py", "", "wgan_gp", (1, 28, 28), (100,), d_steps=5),
    Case(f"{PYTORCH_GAN}/dcgan/dcgan.py", "", "nsgan", (1, 32, 32), (100,), one_pass=True),
    Case(f"{PYTORCH_GAN}/lsgan/lsgan.py", "", "lsgan", (1, 32, 32), (100,), one_pass=True),
    Case(LYNNHO, "--adversarial_loss_mode gan", "nsgan", (1, 32, 32), (128, 1, 1), **LYNNHOS),
    Case(LYNNHO, "--adversarial_loss_mode lsgan", "lsgan", (1, 32, 32), (128, 1, 1), **LYNNHOS),
    Case(
        LYNNHO,
        "--adversarial_loss_mode wgan --gradient_penalty_mode 1-gp --gradient_penalty_sample_mode line --n_d 5",
        "wgan_gp",
        (1, 32, 32),
        (128, 1, 1),
        d_steps=5,
        **LYNNHOS,
    ),
    Case(
        LYNNHO,
        "--adversarial_loss_mode gan --gradient_penalty_mode 1-gp --gradient_penalty_sample_mode dragan",
        "dragan",
        (1, 32, 32),
        (128, 1, 1),
        **LYNNHOS,
    ),
    Case(
        "examples/dcgan/main.py",
        "--dataset cifar10 --dataroot .",
        "nsgan",
        (3, 64, 64),
        (100, 1, 1),
        ("netG", "netD", "optimizerG"),
        one_pass=True,
    ),
]


class Noise(torch.utils.data.Dataset):
    """Random images in the place of torchvision's data sets."""

    def __init__(self, size: int, channels: int, transform: Callable):
        from torchvision.transforms.functional import to_pil_image

        self.images = [to_pil_image(image) for image in noise(size, channels)]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), 0


def global_flags() -> tuple:
    """PyTorch's settings that a script may change for all code of the process."""
    cudnn = torch.backends.cudnn
    return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision()


def set_global_flags(flags: tuple) -> None:
    cudnn = torch.backends.cudnn
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = flags[:3]
    torch.set_float32_matmul_precision(flags[3])


FLAGS = global_flags()  # PyTorch's own


class Ended(BaseException):
    """No more updates are wanted of a script."""


@contextlib.contextmanager
def running(path: Path, flags: list[str], names: tuple[str, str, str]):
    """Runs a script in a thread, as if it were alone, until its G has made an update; later it is ended.

    Yields a function that lets it go on until G's next update is done, and its G and D. What it prints goes nowhere,
    what it writes to a temporary folder, and its DataLoader has no workers, as their time would not be this process's.
    PyTorch's global settings are its own while it runs.
    Raises RunError if the script ends or fails.
    """
    import torchvision

    variables = {"__name__": "__main__", "__file__": str(path)}
    go, done, ends = threading.Semaphore(0), threading.Semaphore(0), []
    flags_of_script = FLAGS

    def script():
        go.acquire()
        try:
            exec(compile(path.read_text(), path, "exec"), variables)
            ends.append("ended")
        except Ended:
            pass
        except BaseException as error:  # SystemExit of a wrong flag too
            ends.append(f"failed: {type(error).__name__}: {error}")
        done.release()

    def stepped(optimiser, *_):
        if threading.current_thread() is thread and optimiser is variables.get(names[2]):
            done.release()
            go.acquire()
            if ends:
                raise Ended

    def update():
        nonlocal flags_of_script
        ours = global_flags()
        set_global_flags(flags_of_script)
        go.release()
        done.acquire()
        flags_of_script = global_flags()
        set_global_flags(ours)
        if ends:
            raise RunError(f"{path} {ends[0]}")

    def images(size, channels):
        return lambda *_, transform, **__: Noise(size, channels, transform)

    def loader(*args, **options):
        return torch_loader(*args, **options | {"num_workers": 0})

    torch_loader = torch.utils.data.DataLoader
    thread = threading.Thread(target=script, daemon=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "1" / "2"  # some write to ../..
        folder.mkdir(parents=True)
        quiet = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(quiet))
        stack.enter_context(contextlib.redirect_stderr(quiet))
        stack.callback(os.chdir, os.getcwd())
        os.chdir(folder)
        patch = mock.patch.object
        stack.enter_context(patch(sys, "argv", [str(path), *flags]))
        stack.enter_context(patch(sys, "path", [str(path.parent), *sys.path]))
        stack.enter_context(patch(torch.utils.data, "DataLoader", loader))
        for dataset, place in [("MNIST", (28, 1)), ("FashionMNIST", (28, 1)), ("CIFAR10", (32, 3))]:
            stack.enter_context(patch(torchvision.datasets, dataset, images(*place)))
        stack.enter_context(patch(Tensor, "view", Tensor.reshape))  # as ours have channels last, which view refuses
        stack.callback(register_optimizer_step_post_hook(stepped).remove)
        thread.start()
        try:
            update()
            yield update, variables[names[0]], variables[names[1]]
        finally:
            ends.append("")
            go.release()
            thread.join()
            for name, module in [*sys.modules.items()]:
                if str(path.parent) in str(getattr(module, "__file__", "")):
                    del sys.modules[name]  # to be imported anew by its next run


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


def ours(case: Case, G: nn.Module, D: nn.Module, device: torch.device, changes: list[str] = (), **args) -> dict:
    """The local variables of our train() with changes of scripts/lib/variants.py, on copies of the peer's networks."""
    channels, size, _ = case.shape
    args |= {"dataset": f"{size}x{size}x{channels}", "batch_size": BATCH, "d_steps": case.d_steps, "graph": True}
    args |= {"z_dim": case.noise[0], "device": str(device)}
    with mock.patch("common.run.own_data", lambda data, _: data):  # of any size: only our networks need a power of two
        return opened(case.algo, changes, networks=(Borrowed(G, case.noise), Borrowed(D)), **args)


def measure(case: Case, folder: Path, device: torch.device, rounds: int) -> dict:
    """One row: milliseconds per update of G with those of D, and how many times as fast ours is."""
    path, flags = folder / case.script, case.flags.split()
    if "examples" in case.script and device.type == "cuda":
        flags.append("--accel")
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        with running(path, flags, case.names) as (theirs, G, D):
            runs = {"ours": ours(case, G, D, device), "amp": ours(case, G, D, device, amp=True)}
            if case.one_pass:
                runs["one pass"] = ours(case, G, D, device, ["one_pass"])
                runs["one pass, amp"] = ours(case, G, D, device, ["one_pass"], amp=True)
            ways = {"theirs": theirs} | {name: local["update"] for name, local in runs.items()}
            with settings_of(runs["ours"]):  # theirs sets its own
                for name, found in seconds(ways, device, 1, block=1).items():
                    times[name] += found
    git = ["git", "-C", path.parent, "rev-parse", "--short", "HEAD"]
    row = {"script": case.script, "flags": case.flags, "algo": case.algo, "shape": "x".join(map(str, case.shape))}
    row |= {f"{name} ms": 1e3 * statistics.median(found) for name, found in times.items()}
    row |= {f"{name} ratio": ratio(times, "theirs", name) for name in times if name != "theirs"}
    return row | {"revision": subprocess.run(git, capture_output=True, text=True).stdout.strip()}


ABOUT = """One update of G with its updates of D, in batches of 64: other people's scripts as they are, and our file
with copies of the same networks on random images of the same shape. Theirs draw batches from a DataLoader, in the main
process. The scripts with numbers under "one pass of G" train both players on the same generated samples, the others and
ours draw new ones for G's step, as in algorithm 1 of Goodfellow et al. 2014; there our file is changed to do the same.
Times: of the process, medians over the rounds; times as fast: medians of the rounds' ratios. PyTorch-GAN's dragan.py
and began.py end with an error in their first update."""
ONE_PASS = {"one pass": "one pass of G", "one pass, amp": "one pass of G, in bfloat16"}
WAYS = {"ours": "ours", "amp": "in bfloat16"} | ONE_PASS


def page(rows: list[dict]) -> list[str]:
    head = ["script", "revision", "our file", "images", "theirs, ms", "ours, ms"]
    head += [f"{way}, times as fast" for way in WAYS.values()]
    cells = []
    for row in rows:
        line = [f"`{' '.join([row['script'], row['flags']]).strip()}`", row["revision"], f"`{row['algo']}.py`"]
        line += [row["shape"], *(short(row[f"{name} ms"]) for name in ("theirs", "ours"))]
        ratios = [row[f"{way} ratio"] for way in WAYS]
        cells.append([*line, *(f"{float(number):.2f}" if number else "-" for number in ratios)])
    return table(head, cells)


def main(args: Args) -> None:
    device = pick_device(args.device)
    folder = Path(args.folder).resolve()
    if missing := sorted({str(folder / c.script) for c in CASES if not (folder / c.script).exists()}):
        raise RunError("not there: " + ", ".join(missing))
    if args.rounds < 1:
        raise RunError("--rounds must be 1 or more")
    if device.type == "cpu" and torch.cuda.is_available():
        raise RunError("--device cpu: the scripts take a GPU where there is one; CUDA_VISIBLE_DEVICES= hides it")
    name = device_name(device)
    out = RESULTS / re.sub(r"\W+", "-", name.lower()).strip("-")
    made = environment(device)
    for case in tqdm(CASES):
        row = measure(case, folder, device, args.rounds)
        rows = keep(out / "peers.csv", [row | {"torch": made["torch"], "git": made["git"]}])
    facts = f"{name}; torch {made['torch']}, Python {made['python']}, revision {made['git']}."
    text = [
        "# Speed: beside other people's scripts",
        "",
        "    python scripts/peers.py ../peers",
        "",
        facts,
        "",
        ABOUT,
        "",
    ]
    (out / "peers.md").write_text("\n".join([*text, *page(rows)]).rstrip() + "\n")
    print("\n".join(page(rows)), f"written to {out}", sep="\n")


if __name__ == "__main__":
    command(main, Args, __doc__)
