"""Every algorithm learns: on an easy mixture it reaches a floor within a fixed budget and seed."""

import pytest
import torch

import common.data
from common.data import Points

BUDGET = {"wgan_gp": {"steps": 400}}  # the rest: 800 generator updates
SEED = 1


@pytest.fixture
def easy(monkeypatch):
    """Four Gaussians at (+-1, +-1), sd 0.2, in place of every data set."""
    modes = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    monkeypatch.setattr(common.data, "load_data", lambda *_: Points(modes, std=0.2))


def test_learns_an_easy_mixture(algo, easy, tmp_path):
    budget = BUDGET.get(algo.__name__.removeprefix("algos."), {"steps": 800})
    args = algo.Args(**budget, seed=SEED, log_every=400, checkpoint_every=10**6, out=str(tmp_path), device="cpu")
    result = algo.train(args)
    assert result["coverage"] == 4 and result["modes"] == 4
    assert result["high_quality"] > 0.6 and result["js"] < 0.05 and result["w1"] < 0.5


def test_penalty_weight_reaches_the_critic(easy, tmp_path):
    """lambda 10 holds the critic's slope near 1; lambda 0 lets it run away, and still trains the critic."""
    from algos import wgan_gp

    common = {"steps": 60, "log_every": 60, "seed": SEED, "out": str(tmp_path), "device": "cpu"}
    held = wgan_gp.train(wgan_gp.Args(**common, lambda_=10.0))
    free = wgan_gp.train(wgan_gp.Args(**common, lambda_=0.0))
    assert held["gp"] < 0.3 and free["gp"] > 10 * held["gp"]
