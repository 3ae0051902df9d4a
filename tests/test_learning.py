"""Every algorithm learns: on an easy mixture it reaches a floor within a fixed budget and seed."""

import pytest
import torch

import common.data
from common.data import Points

BUDGET = {"wgan": 800, "wgan_gp": 2000, "unrolled": 300, "dual_d_selu": 500}  # updates; rest: 1000
OPTIONS = {"mlegan": {"lr": 1e-3}}  # its own is too slow for this budget
# modes of 4; the rest 2, as losing modes is no failure to learn
FLOOR = {"wgan": 4, "wgan_gp": 4, "pacgan": 4, "dragan": 4, "dual_d_selu": 4, "began": 1}
SEED = 2


@pytest.fixture
def easy(monkeypatch):
    """easy(n): n Gaussians of sd 0.2 on a circle of radius 2, in place of every data set."""

    def mixture(n):
        angle = torch.arange(n) * 2 * torch.pi / n
        modes = 2 * torch.stack([angle.cos(), angle.sin()], dim=1)
        monkeypatch.setattr(common.data, "load_data", lambda *_: Points(modes, std=0.2))

    return mixture


def test_learns_an_easy_mixture(algo, easy, tmp_path):
    """A wrong sign, loss or gradient puts next to no sample within 3 sd of any mode.

    BEGAN, which asks for no diversity, has to find the only mode of one.
    """
    name = algo.__name__.removeprefix("algos.")
    easy(1 if name == "began" else 4)
    budget = {"steps": BUDGET.get(name, 1000), "log_every": 1000, "checkpoint_every": 10**6}
    result = algo.train(algo.Args(**budget, **OPTIONS.get(name, {}), seed=SEED, out=str(tmp_path), device="cpu"))
    assert min(result["coverage"], result["modes"]) >= FLOOR.get(name, 2)
    assert result["high_quality"] > 0.4


def test_penalty_weight_reaches_the_critic(easy, tmp_path):
    """lambda 10 holds the critic's slope near 1; lambda 0 lets it run away, and still trains the critic."""
    from algos import wgan_gp

    easy(4)
    common = {"steps": 60, "log_every": 60, "seed": SEED, "out": str(tmp_path), "device": "cpu"}
    held = wgan_gp.train(wgan_gp.Args(**common, lambda_=10.0))
    free = wgan_gp.train(wgan_gp.Args(**common, lambda_=0.0))
    assert held["gp"] < 0.3 and free["gp"] > 10 * held["gp"]
