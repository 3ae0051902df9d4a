import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: two threads on two busy cores are slower than one

import pytest
import torch

from common.run import Run

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "algos").glob("*.py"))
ALGOS = {file.stem: importlib.import_module(f"algos.{file.stem}") for file in FILES}

torch.set_num_threads(1)


@pytest.fixture(params=ALGOS)
def algo(request):
    """The module of each algorithm in turn."""
    return ALGOS[request.param]


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
def inside(monkeypatch, tmp_path):
    """inside(module, **args): the local variables of its train() when the loop would begin (G, d_step, ...)."""

    class Reached(BaseException):
        pass

    def steps(self, **state):
        raise Reached(dict(sys._getframe(1).f_locals))

    def run(module, **args):
        with monkeypatch.context() as patch:
            patch.setattr(Run, "steps", steps)
            with pytest.raises(Reached) as reached:
                module.train(module.Args(**{"out": str(tmp_path), "device": "cpu", **args}))
        return reached.value.args[0]

    return run


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


def break_at(step, algo, args, monkeypatch):
    """Trains until just after the update of `step`, then breaks off as if the process had been killed."""

    class Killed(BaseException):
        pass

    def killed(self, now):
        if now == step:
            raise Killed
        return due(self, now)

    due = Run.due
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Run, "due", killed)
        algo.train(args)


def load_script(name):
    """scripts/<name>.py as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(*words, **options) -> subprocess.CompletedProcess:
    """Runs `python words...` from the root of the repository, or from cwd=."""
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120, **options}
    return subprocess.run([sys.executable, *map(str, words)], **options)
