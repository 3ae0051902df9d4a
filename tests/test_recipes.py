"""The README's recipes: each diff applies to nsgan.py and does what is said of it."""

import pytest
import torch
from conftest import ALGOS, ROOT

from scripts import variants
from scripts.benchmark import module_of


def recipe(name):
    """nsgan.py with the recipe applied, as a module."""
    for old, _ in variants.recipes()[name]:
        assert (ROOT / "algos" / "nsgan.py").read_text().count(old) == 1, old
    return module_of(f"runs/nsgan-{name}.py")


def test_both_recipes_are_found():
    found = variants.recipes()
    assert list(found) == ["noise", "weight_decay"]
    assert "register_forward_pre_hook" in found["noise"][0][1] and "weight_decay" in found["weight_decay"][0][1]


def test_noise_on_the_inputs_of_d_falls_to_zero(inside):
    local, seen = inside(recipe("noise")), []
    local["D"].net.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    for rate in (1.0, 0.5, 0.0):
        local["lr"].fill_(local["args"].lr * rate)
        local["D"](torch.zeros(10_000, 2))
        noise = seen.pop()
        assert noise.std().item() == pytest.approx(0.5 * rate, rel=0.03) and noise.mean().abs() < 0.02
    local["update"]()
    assert len(seen) == 3  # real, generated, and G's


def test_weight_penalty_is_on_d_only_and_shrinks_it(inside):
    norms = []
    for module in (ALGOS["nsgan"], recipe("weight_decay")):
        local = inside(module)
        torch.manual_seed(0)
        for _ in range(300):
            local["update"]()
        norms.append(sum(p.square().sum() for p in local["D"].parameters()).item())
        decay = [local[name].param_groups[0]["weight_decay"] for name in ("g_opt", "d_opt")]
        assert decay == [0, 0 if module is ALGOS["nsgan"] else 1e-3]
    assert norms[1] < norms[0]
