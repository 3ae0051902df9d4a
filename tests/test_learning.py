"""Every algorithm learns: on an easy mixture it reaches a floor within a fixed budget and seed."""

import pytest
import torch

import common.data
from common.data import Points

BUDGET = {"wgan_gp": 800}  # generator updates; the rest: 1000
FLOOR = {"wgan_gp": 4}  # modes of 4; the rest: 2, as their collapse is no failure to learn
SEED = 2


@pytest.fixture
def easy(monkeypatch):
    """Four Gaussians at (+-2, 0) and (0, +-2), sd 0.2, in place of every data set."""
    modes = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0]])
    monkeypatch.setattr(common.data, "load_data", lambda *_: Points(modes, std=0.2))


def test_learns_an_easy_mixture(algo, easy, tmp_path):
    """A wrong sign, loss or gradient puts next to no sample within 3 sd of any mode."""
    name = algo.__name__.removeprefix("algos.")
    budget = {"steps": BUDGET.get(name, 1000), "log_every": 1000, "checkpoint_every": 10**6}
    result = algo.train(algo.Args(**budget, seed=SEED, out=str(tmp_path), device="cpu"))
    assert min(result["coverage"], result["modes"]) >= FLOOR.get(name, 2)
    assert result["high_quality"] > 0.4


def test_penalty_weight_reaches_the_critic(easy, tmp_path):
    """lambda 10 holds the critic's slope near 1; lambda 0 lets it run away, and still trains the critic."""
    from algos import wgan_gp

    common = {"steps": 60, "log_every": 60, "seed": SEED, "out": str(tmp_path), "device": "cpu"}
    held = wgan_gp.train(wgan_gp.Args(**common, lambda_=10.0))
    free = wgan_gp.train(wgan_gp.Args(**common, lambda_=0.0))
    assert held["gp"] < 0.3 and free["gp"] > 10 * held["gp"]
