"""Every algorithm learns: on an easy mixture it reaches a floor within a fixed budget and seed."""

import math

import torch

from algos import r1
from common.data import Points, load_data
from scripts.lib.trained import Trained

SEED = 2
LEARNS = {  # file: updates, modes of 4 that it has to find, options; losing modes is no failure to learn
    "began": (150, 1, {}),  # of 1: it asks for no diversity
    "cramer": (300, 4, {"lr": 4e-3}),
    "d2gan": (500, 2, {}),
    "dfm": (400, 2, {}),
    "diffusion_gan": (500, 2, {}),
    "dragan": (500, 4, {}),
    "dual_d_selu": (250, 4, {"batch_size": 64}),
    "feature_matching": (500, 2, {}),
    "gan": (500, 2, {}),
    "lsgan": (600, 1, {}),
    "minibatch_discrimination": (300, 2, {"batch_size": 64, "lr": 2e-3}),
    "mlegan": (500, 2, {"lr": 1e-3}),
    "nsgan": (400, 2, {}),
    "pacgan": (600, 4, {}),
    "r1": (300, 2, {}),
    "r3gan": (300, 2, {}),
    "sngan": (300, 2, {}),
    "unrolled": (200, 2, {"lr": 1e-3, "beta1": 0.5}),
    "wgan": (600, 4, {}),
    "wgan_gp": (400, 4, {"lambda_": 1.0}),  # for data of this size
}


def easy(modes):
    """Gaussians of sd 0.2, evenly on a circle of radius 2."""
    angle = torch.arange(modes) * 2 * math.pi / modes
    return Points(2 * torch.stack([angle.cos(), angle.sin()], dim=1), std=0.2)


def test_learns_an_easy_mixture(algo, tmp_path):
    """A wrong sign, loss or gradient puts next to no sample within 3 sd of any mode."""
    name = algo.__name__.removeprefix("algos.")
    assert name in LEARNS, f"LEARNS in {__file__} needs a line {name!r}: updates (seconds at most), modes of 4, options"
    steps, modes, options = LEARNS[name]
    options = {"log_every": steps, "checkpoint_every": steps, "device": "cpu", "quiet": True, **options}
    args = algo.Args(steps=steps, seed=SEED, out=str(tmp_path), **options)
    result = algo.train(args, easy(1 if name == "began" else 4))
    assert min(result["coverage"], result["modes"]) >= modes and result["high_quality"] > 0.4


def test_learns_real_digits(tmp_path):
    """In seconds: pixels as they are distributed, and not one image for all. Black alone would have a swd of 0.36."""
    args = r1.Args(dataset="digits", steps=200, batch_size=32, width=16, log_every=100, device="cpu", out=str(tmp_path))
    result = r1.train(args)
    assert result["swd"] < 0.12
    samples, real = Trained(result["folder"]).sample(500), load_data("digits").images
    assert 0.7 < samples.float().std(0).mean() / real.float().std(0).mean() < 1.3


def test_penalty_weight_reaches_the_critic(tmp_path):
    """lambda 10 holds the critic's slope near 1; lambda 0 lets it run away, and still trains the critic."""
    from algos import wgan_gp

    common = {"steps": 60, "log_every": 60, "seed": SEED, "out": str(tmp_path), "device": "cpu", "quiet": True}
    held = wgan_gp.train(wgan_gp.Args(**common, lambda_=10.0), easy(4))
    free = wgan_gp.train(wgan_gp.Args(**common, lambda_=0.0), easy(4))
    assert held["gp"] < 0.3 and free["gp"] > 10 * held["gp"]
