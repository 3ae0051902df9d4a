import importlib
import inspect
import json
import os
import shlex
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import get_args

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: two threads on two busy cores are slower than one

import pytest
import torch

from common import metrics
from common.run import Run
from scripts.lib.inside import inside

ROOT = Path(__file__).parents[1]
HANGS = 1800  # seconds: timeouts are only against a test that hangs for ever
FILES = sorted((ROOT / "algos").glob("*.py"))
ALGOS = {file.stem: importlib.import_module(f"algos.{file.stem}") for file in FILES}

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_exact_w1(request, monkeypatch):
    """W1 takes half a second at the end of every run: here it is a sliced one, but with @pytest.mark.exact_w1."""
    if not request.node.get_closest_marker("exact_w1"):
        monkeypatch.setattr(metrics, "wasserstein", lambda x, y: metrics.sliced_wasserstein(x, y, directions=16))


@pytest.fixture(params=ALGOS)
def algo(request):
    """The module of each algorithm in turn."""
    return ALGOS[request.param]


@pytest.fixture(name="inside")
def inside_fixture():
    """scripts/lib/inside.py, for tests that do not import it."""
    return inside


def discriminators(local):
    """The discriminators among the local variables of train(): D, or D1 and D2."""
    return [local[name] for name in ("D", "D1", "D2") if name in local]


def weights(module):
    """A copy of all parameters as one vector."""
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def generator_loss(module, *outputs):
    """module.generator_loss of as many of the outputs as it has arguments without default, the last first."""
    parameters = inspect.signature(module.generator_loss).parameters.values()
    return module.generator_loss(*outputs[-sum(p.default is p.empty for p in parameters) :])


@pytest.fixture
def tiny_images(tmp_path, monkeypatch):
    """Arguments for a folder of 40 noisy colour images, 16x16."""
    from PIL import Image

    folder = tmp_path / "tiny"
    folder.mkdir()
    pixels = torch.randint(256, (40, 16, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return {"dataset": "folder", "data_root": str(folder), "image_size": 16, "width": 8, "batch_size": 16}


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


def break_at(step, algo, args, monkeypatch, data=None):
    """Trains until just after the update of `step`, then breaks off as if the process had been killed."""

    class Killed(BaseException):
        pass

    def killed(self, now, numbers, G):
        if now == step:
            raise Killed
        log(self, now, numbers, G)

    log = Run.log
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Run, "log", killed)
        algo.train(args, data)


# A command of nsgan.py of which the last process kills itself in step 151, when no Python code can clean up
KILLED = f"""
import os, runpy, signal, sys
sys.path.insert(0, "{ROOT}")
from common.processes import RANK, WORLD
from common.run import Run

log = Run.log


def killed(self, step, numbers, G):
    if step == 151 and RANK == WORLD - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    log(self, step, numbers, G)


Run.log = killed
sys.argv[0] = "{ROOT}/algos/nsgan.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def script(*words, **options) -> subprocess.CompletedProcess:
    """Runs `python words...` from the root of the repository, or from cwd=."""
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": HANGS, **options}
    return subprocess.run([sys.executable, *map(str, words)], **options)


def quick_settings(command):
    """suites.settings without a parser, which takes a while for thousands of commands."""
    from scripts.lib import suites, variants  # with scipy, which most tests, as those of a GPU, do without

    file, *words = shlex.split(command)
    by_name = {field.name.rstrip("_"): field for field in fields(variants.module_of(command).Args)}
    found = {}
    while words:
        name = words.pop(0).removeprefix("--").replace("-", "_")
        if name.startswith("no_"):
            found[by_name[name.removeprefix("no_")].name] = False
        elif (kind := by_name[name].type) is bool:
            found[name] = True
        else:
            kind = next((k for k in (int, float) if k is kind or k in get_args(kind)), str)
            found[by_name[name].name] = kind(words.pop(0))
    return suites.deciding(asdict(variants.module_of(command).Args(**found)))
