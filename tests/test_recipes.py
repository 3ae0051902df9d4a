"""The README's recipes: each diff applies to nsgan.py and does what is said of it."""

import importlib.util
import re

import pytest
import torch
from conftest import ALGOS, ROOT

DIFFS = re.findall(r"```diff\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def patched(diff, tmp_path):
    """nsgan.py with the diff applied, as a module."""
    lines = diff.splitlines()
    old = "\n".join(line[1:] for line in lines if line[0] != "+")
    new = "\n".join(line[1:] for line in lines if line[0] != "-")
    text = (ROOT / "algos" / "nsgan.py").read_text()
    assert text.count(old) == 1, old
    (tmp_path / "recipe.py").write_text(text.replace(old, new))
    spec = importlib.util.spec_from_file_location("recipe", tmp_path / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_recipes_are_found():
    assert ["register_forward_pre_hook" in diff for diff in DIFFS] == [True, False]


def test_noise_on_the_inputs_of_d_falls_to_zero(inside, tmp_path):
    local, seen = inside(patched(DIFFS[0], tmp_path)), []
    local["D"].net.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    for rate in (1.0, 0.5, 0.0):
        local["lr"].fill_(local["args"].lr * rate)
        local["D"](torch.zeros(10_000, 2))
        noise = seen.pop()
        assert noise.std().item() == pytest.approx(0.5 * rate, rel=0.03) and noise.mean().abs() < 0.02
    local["update"]()
    assert len(seen) == 3  # real, generated, and G's


def test_weight_penalty_is_on_d_only_and_shrinks_it(inside, tmp_path):
    norms = []
    for module in (ALGOS["nsgan"], patched(DIFFS[1], tmp_path)):
        local = inside(module)
        torch.manual_seed(0)
        for _ in range(300):
            local["update"]()
        norms.append(sum(p.square().sum() for p in local["D"].parameters()).item())
        decay = [local[name].param_groups[0]["weight_decay"] for name in ("g_opt", "d_opt")]
        assert decay == [0, 0 if module is ALGOS["nsgan"] else 1e-3]
    assert norms[1] < norms[0]
