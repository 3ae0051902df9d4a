"""Other people's training scripts, and ours: run as they are, each in a process of its own, and visited on the way.

A visitor is a generator. It is called before the script, goes on with the variables of the script after the first
update of G, and then after each further one; when it returns, the script is ended. If the script ends first, the
visitor is closed. scripts/peers.py times updates so, scripts/race.py keeps samples. Little is imported here, as the
seconds of a race begin before it.
"""

import copy
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this is a library; a command that uses it is: python scripts/peers.py ../peers")

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

ROOT = Path(__file__).resolve().parents[2]
CHILD = "import json, sys; from scripts.lib.foreign import child; child(*json.loads(sys.argv[1]))"


@dataclass(frozen=True)
class Script:
    """A training script, and what it calls G, D and G's optimiser."""

    path: str
    flags: str = ""
    noise: tuple[int, ...] = (100,)
    """the shape of a sample of its noise"""
    G: str = "generator"
    D: str = "discriminator"
    optimiser: str = "optimizer_G"


LYNNHOS = {
    "gan": "--adversarial_loss_mode gan",
    "lsgan": "--adversarial_loss_mode lsgan",
    "wgan-gp": "--adversarial_loss_mode wgan --gradient_penalty_mode 1-gp --gradient_penalty_sample_mode line --n_d 5",
    "dragan": "--adversarial_loss_mode gan --gradient_penalty_mode 1-gp --gradient_penalty_sample_mode dragan",
}


def pytorch_gan(name: str) -> Script:
    return Script(f"PyTorch-GAN/implementations/{name}/{name}.py")


def lynnho(loss: str, data: str = "") -> Script:
    path = "DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch/train.py"
    return Script(path, f"{data} {LYNNHOS[loss]}".strip(), (128, 1, 1), "G", "D", "G_optimizer")


def missing(folder: Path, scripts: list[Script]) -> str:
    """What to say of scripts that are not there; nothing if all are."""
    paths = sorted({str(folder / script.path) for script in scripts if not (folder / script.path).exists()})
    return f"not there: {', '.join(paths)}" if paths else ""


def run(script: Script, folder: Path, visitor: str, *args, core: str = "", **variables: str) -> dict:
    """What a visitor, "scripts.peers:timed", finds in a script of this folder; args: for it, as JSON has them.

    core: the number of the one that it is to run on. Raises RunError if the script fails, or ends with nothing found.
    """
    from common.args import RunError

    with tempfile.TemporaryDirectory() as top:
        here = Path(top, "1", "2")  # some write to ../..
        here.mkdir(parents=True)
        what = json.dumps([asdict(script), str(folder / script.path), visitor, args, f"{top}/found"])
        variables |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{os.getenv('PYTHONPATH', '')}"}
        words = [*(["taskset", "-c", core] if core else []), sys.executable, "-c", CHILD, what]
        with open(f"{top}/errors", "w+") as errors:
            ended = subprocess.run(
                words, cwd=here, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=errors
            )
            errors.seek(0)
            last = [line for line in errors if line.strip()][-1:] or [f"exit status {ended.returncode}"]
        if ended.returncode:
            raise RunError(f"{script.path} {script.flags} failed: {last[0].strip()}")
        return torch.load(f"{top}/found")


def child(script: dict, path: str, visitor: str, args: list, out: str) -> None:
    """The process of a script."""
    module, name = visitor.split(":")
    found: dict = {}
    visit = getattr(importlib.import_module(module), name)(found, *args)
    next(visit)
    variables = None

    def stepped(optimiser: torch.optim.Optimizer, *_) -> None:
        nonlocal variables
        variables = variables or variables_of(optimiser, script["optimiser"])
        if variables and variables[script["optimiser"]] is optimiser:
            try:
                visit.send(variables)
            except StopIteration:
                torch.save(found, out)
                os._exit(0)

    register_optimizer_step_post_hook(stepped)
    sys.argv = [path, *script["flags"].split()]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")
    visit.close()
    if not found:
        sys.exit("it ended too early")
    torch.save(found, out)


def variables_of(optimiser: torch.optim.Optimizer, name: str) -> dict | None:
    """The variables of the function, or of the script, that makes this step, if it calls the optimiser so."""
    frame = sys._getframe()
    while frame := frame.f_back:
        for variables in (frame.f_locals, frame.f_globals):
            if variables.get(name) is optimiser:
                return variables
    return None


# the visitor of scripts/race.py, which imports too much to be one -----------------------------------------------------


@torch.no_grad()
def samples(G: torch.nn.Module, noise: list[int], n: int, mode: str) -> torch.Tensor:
    """n images in batches of 64, in float32, without a trace in G or in the random numbers. mode: train or eval."""
    with torch.random.fork_rng([]):
        G = copy.deepcopy(G).train(mode == "train")
        parts = [type(G).forward(G, torch.randn(64, *noise)) for _ in range(-(-n // 64))]  # ours have another forward
    return torch.cat(parts)[:n]


def sampled(found: dict, noise: list[int], G: str, mode: str, mnist: str, marks: list[float], n: int) -> Iterator[None]:
    """`found` gets n samples of G at these seconds, counted from the time BEGIN without those that the samples take.

    If the script ends before the last of them, also samples of the G that it ends with.
    """
    for place in ("data/MNIST", "../../data/mnist"):  # where they look for it
        os.makedirs(place)
        os.symlink(mnist, f"{place}/MNIST")
    variables, begin = (yield), float(os.environ["BEGIN"])
    try:
        for mark in marks:
            while (now := time.time()) - begin < mark:
                yield
            found[round(now - begin, 1)] = samples(variables[G], noise, n, mode)
            begin += time.time() - now
    except GeneratorExit:
        found[round(time.time() - begin, 1)] = samples(variables[G], noise, n, mode)
