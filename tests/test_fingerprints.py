"""No rewrite changes a digit: what a few updates give is what they gave when fingerprints.json was recorded.

    python tests/test_fingerprints.py NAME ...   records these files anew; without names those that are not yet there

Anew is allowed only where an algorithm or its random numbers are meant to change: say so in the commit, and make the
results that came of it again. Everything is passed explicitly, so that other settings of a data set change nothing
here. The numbers hold for other machines and versions of PyTorch: with other instructions of the same CPU they moved by
5e-5 of themselves, and g_grad by 1e-3. A penalty without its gradient, D and G in another order, packs of other samples
or a learning rate that is one step late moved one of them by more than 1.5e-2.
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import ALGOS

FILE = Path(__file__).with_name("fingerprints.json")
EVERYWHERE = {
    "seed": 3,
    "d_steps": 2,
    "lr_decay": True,
    "amp": False,
    "device": "cpu",
    "quiet": True,
    "checkpoint_every": 1000,
}
OWN = {  # what only some files have; beta1 and beta2 too, which wgan.py has not
    "beta1": 0.5, "beta2": 0.9, "alpha": 0.2, "beta": 0.1, "k": 1.0, "noise_variance": 0.01, "a": -1.0, "b": 1.0,
    "c": 0.5, "max_logit": 3.0, "packing": 2, "unroll_steps": 3, "clip": 0.1, "lambda_": 2.0, "code_dim": 3,
    "gamma": 0.7, "lambda_k": 0.1, "levels": 20, "sigma": 0.5, "denoising": 0.03,
}  # fmt: skip
SETTINGS = {
    "ring": {"dataset": "ring", "steps": 12, "batch_size": 32, "lr": 4e-3, "z_dim": 2, "width": 16},
    "images": {"dataset": "folder", "steps": 4, "batch_size": 8, "lr": 2e-3, "z_dim": 64, "width": 8, "image_size": 16},
}
ON_IMAGES = ["nsgan", "wgan_gp", "unrolled", "began", "dual_d_selu"]
RUNS = [*((name, "ring") for name in ALGOS), *((name, "images") for name in ON_IMAGES)]
NAMES = ["d_loss", "g_loss", "g_grad", "sum", "norm"]


def images():
    """40 smooth colour images, 16x16, each other waves."""
    line = torch.arange(16)
    y, x, i = line.view(16, 1), line.view(1, 16), torch.arange(120).view(40, 3, 1, 1)
    return (127.5 + 127.5 * torch.sin((y * (i % 5) + x * (i % 7)) / 8 + i)).round().byte()


def fingerprint(name, kind):
    """Both losses and the norm of G's gradient in the last update; the sum and the norm of all numbers of G."""
    module = ALGOS[name]
    settings = EVERYWHERE | {k: v for k, v in OWN.items() if k in module.Args.__annotations__} | SETTINGS[kind]
    preset = module.PRESETS["ring"].keys() - settings.keys()
    assert not preset, f"what depends on the data set is passed explicitly here: {preset} is missing in OWN"
    with tempfile.TemporaryDirectory() as out:
        args = module.Args(**settings, log_every=settings["steps"], out=out)
        numbers = module.train(args, images() if kind == "images" else None)
        G = torch.load(Path(numbers["folder"]) / "checkpoint.pt", weights_only=True)["state"]["G"]
    G = torch.cat([x.flatten().double() for x in G.values()])
    numbers |= {"sum": G.sum(), "norm": G.norm()}
    return {name: float(f"{numbers[name]:.7g}") for name in NAMES}


@pytest.mark.parametrize(("name", "kind"), RUNS)
def test_nothing_changed(name, kind):
    recorded = json.loads(FILE.read_text()).get(f"{name} {kind}")
    assert recorded, f"not recorded yet: python tests/test_fingerprints.py {name}"
    now = fingerprint(name, kind)
    for number, value in recorded.items():
        rel, small = (5e-3, 1e-4) if number == "g_grad" else (1e-3, 1e-5)
        small = 1e-3 * recorded["norm"] if number == "sum" else small  # a sum can be near zero
        assert now[number] == pytest.approx(value, rel=rel, abs=small), number


def test_the_smallest_mistakes_are_seen(monkeypatch):
    """A loss of G that is 2 % larger, and D's loss on real samples alone."""
    recorded = json.loads(FILE.read_text())["nsgan ring"]
    for loss, wrong in [
        ("generator_loss", lambda d_fake: 1.02 * torch.nn.functional.softplus(-d_fake).mean()),
        ("discriminator_loss", lambda d_real, d_fake: torch.nn.functional.softplus(-d_real).mean()),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(ALGOS["nsgan"], loss, wrong)
            now = fingerprint("nsgan", "ring")
        assert any(abs(now[number] / recorded[number] - 1) > 1e-2 for number in NAMES[:3])


if __name__ == "__main__":
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    runs = {f"{name} {kind}": (name, kind) for name, kind in RUNS}
    new = {
        run: fingerprint(*runs[run])
        for run in runs
        if runs[run][0] in sys.argv[1:] or not sys.argv[1:] and run not in kept
    }
    lines = [f"  {json.dumps(run)}: {json.dumps(numbers)}" for run, numbers in (kept | new).items() if run in runs]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(new)} of {len(runs)} recorded in {FILE}")
