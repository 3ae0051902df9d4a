"""--amp: bfloat16 inside the networks, float32 everywhere else, and the same training within bfloat16's precision."""

import copy

import pytest
import torch
from conftest import ALGOS, break_at, contents, discriminators, same, weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scripts.lib.inside import inside

PRODUCTS = ("aten.mm", "aten.addmm", "aten.bmm", "aten.convolution")  # and aten.convolution_backward
OPTIONS = {"dataset": "folder", "width": 8, "batch_size": 16, "quiet": True}


@pytest.fixture(autouse=True)
def processor(monkeypatch):
    """One that has bfloat16: this one may have to imitate it."""
    monkeypatch.setattr("common.run.has_bfloat16", lambda device: True)


def images():
    """40 noisy colour images, 16x16."""
    return torch.randint(256, (40, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


class Products(TorchDispatchMode):
    """The number types of all products and convolutions, forwards and backwards; of norms, losses, optimisers."""

    def __init__(self):
        super().__init__()
        self.products, self.rest = set(), set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if str(function).startswith(PRODUCTS):
            self.products |= {leaf.dtype for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
        if str(function).startswith(("aten.linalg_vector_norm", "aten.softplus", "aten._fused_adam")):
            self.rest |= {leaf.dtype for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
        return out


def test_products_are_in_bfloat16_and_all_else_in_float32(algo):
    local = inside(algo, images(), amp=True, **OPTIONS)
    with Products() as seen:
        numbers = local["update"]()
    assert seen.products == {torch.bfloat16}
    assert seen.rest == {torch.float32} or algo.__name__ == "algos.wgan"  # which has no such operation
    assert {number.dtype for number in numbers.values()} == {torch.float32}
    for module in (local["G"], *discriminators(local)):
        assert {p.dtype for p in module.parameters()} == {p.grad.dtype for p in module.parameters()} == {torch.float32}
    for opt in (local["g_opt"], local["d_opt"]):
        assert {v.dtype for v in tree_leaves(opt.state_dict()["state"])} == {torch.float32}
    assert local["G"](torch.randn(2, local["args"].z_dim)).dtype == torch.float32


def test_gradients_are_those_of_float32_within_bfloat16s_precision(algo):
    """From the same weights, on the same samples; bfloat16 rounds each number by up to 1 in 256."""
    found = []
    for amp in (False, True):
        local = inside(algo, images(), amp=amp, lr=1e-9, **OPTIONS)
        torch.manual_seed(1)
        local["update"]()
        modules = [local["G"], *discriminators(local)]
        found.append([torch.cat([p.grad.flatten() for p in module.parameters()]) for module in modules])
    for plain, rounded in zip(*found, strict=True):
        assert not torch.equal(plain, rounded)
        assert torch.cosine_similarity(plain, rounded, dim=0) > 0.97
        assert 0.9 < rounded.norm() / plain.norm() < 1.1


def test_small_updates_are_not_rounded_away():
    """Weights stay in float32, which resolves steps far below bfloat16's."""
    local = inside(ALGOS["nsgan"], images(), amp=True, lr=1e-6, **OPTIONS)
    before = weights(local["G"])
    local["update"]()
    moved = (weights(local["G"]) - before).abs()
    assert 0 < moved.max() < 2e-6 and before.abs().max() > 1e-2


def test_points_stay_in_float32():
    """Near 2 the numbers of bfloat16 are 1/64 apart, and the ring's modes have a standard deviation of 0.02."""
    local = inside(ALGOS["nsgan"], width=8, amp=True)
    with Products() as seen:
        local["update"]()
    assert seen.products == {torch.float32}


def test_a_processor_without_bfloat16_stays_in_float32(monkeypatch):
    """There PyTorch would imitate it, slowly."""
    x = torch.randn(4, 3, 16, 16)
    exact = inside(ALGOS["nsgan"], images(), amp=False, **OPTIONS)["D"](x)
    monkeypatch.setattr("common.run.has_bfloat16", lambda device: False)
    assert torch.equal(inside(ALGOS["nsgan"], images(), amp=True, **OPTIONS)["D"](x), exact)


def test_a_copy_of_a_network_uses_its_own_weights():
    local = inside(ALGOS["nsgan"], images(), amp=True, **OPTIONS)
    with torch.no_grad():
        for network, x in ((local["G"], torch.randn(4, 64)), (local["D"], local["data"].sample(4))):
            before, twin = network(x), copy.deepcopy(network)
            for p in twin.parameters():
                p.mul_(1.5)
            assert torch.equal(network(x), before) and not torch.equal(twin(x), before)


def test_resume_is_exact(tmp_path, monkeypatch):
    nsgan = ALGOS["nsgan"]
    options = {"amp": True, "steps": 12, "checkpoint_every": 5, "log_every": 4, "device": "cpu", **OPTIONS}
    nsgan.train(nsgan.Args(**options, out=str(tmp_path / "whole")), images())
    break_at(9, nsgan, nsgan.Args(**options, out=str(tmp_path / "broken")), monkeypatch, images())
    nsgan.train(nsgan.Args(**options, out=str(tmp_path / "broken"), resume=True), images())
    (whole,), (broken,) = [list((tmp_path / name).iterdir()) for name in ("whole", "broken")]
    assert same(contents(whole), contents(broken))
