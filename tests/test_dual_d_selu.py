"""Minibatch discrimination, SELU and residual blocks, and which discriminator has which of them."""

import math

import pytest
import torch
from conftest import ALGOS
from torch import nn

from common.args import parse
from scripts.lib.inside import inside

dual = ALGOS["dual_d_selu"]


@pytest.mark.parametrize("features", [50, 800])
def test_minibatch_discrimination_starts_at_the_same_scale_for_any_width(features):
    """For N(0, 1) features M is N(0, 1) too, and exp(-|M_i - M_j|_1) over 4 dimensions (e erfc(1))^4 on average."""
    torch.manual_seed(0)
    layer = dual.MinibatchDiscrimination(features, kernels=64)
    closeness = layer(torch.randn(200, features))[:, features:] / 199
    assert closeness.mean().item() == pytest.approx((math.e * math.erfc(1)) ** 4, rel=0.15)


def test_selu_has_the_fixed_point_0_1():
    """Klambauer et al. 2017, section 2: N(0, 1) keeps its mean and variance, and layers drive others there."""
    torch.manual_seed(0)
    D, seen = dual.Discriminator((2,), 400, selu=True), []
    for module in D.modules():
        if isinstance(module, nn.SELU):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    D(torch.randn(4000, 2))
    assert len(seen) == 3 and all(abs(x.mean()) < 0.15 and 0.7 < x.var() < 1.3 for x in seen)


def test_selu_layers_have_lecuns_initialisation():
    D = dual.Discriminator((3, 32, 32), 32, selu=True)
    weights = [m for m in D.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(weights) == 6
    for layer in weights[1:]:
        assert layer.weight.std().item() == pytest.approx(layer.weight[0].numel() ** -0.5, rel=0.05)
        assert not layer.bias.any()


@pytest.mark.parametrize("shape", [(2,), (3, 32, 32)])
def test_residual_blocks_pass_their_input_on(shape):
    """With the weights of the blocks at zero, D is what it is without them, not a constant."""
    D = dual.Discriminator(shape, 8, resblock=True)
    blocks = [module for module in D.modules() if isinstance(module, dual.Residual)]
    assert len(blocks) == 2
    for parameter in (p for block in blocks for p in block.parameters()):
        nn.init.zeros_(parameter)
    x = torch.randn(4, *shape)
    without = nn.Sequential(*[m for m in D.net if not isinstance(m, dual.Residual)])
    torch.testing.assert_close(D(x), without(x).squeeze(1))


@pytest.mark.parametrize("shape", [(2,), (3, 32, 32)])
def test_minibatch_discrimination_makes_the_logit_depend_on_the_batch(shape):
    D = dual.Discriminator(shape, 8, minibatch=True)
    x = torch.randn(8, *shape)
    assert (D(x)[:4] - D(x[:4])).abs().max() > 1e-6
    permuted = torch.randperm(8)
    torch.testing.assert_close(D(x)[permuted], D(x[permuted]), atol=1e-5, rtol=1e-5)  # but not on its order


@pytest.mark.parametrize("flags", [[], ["--no-minibatch-discrimination"]])
@pytest.mark.parametrize("shape", [(2,), (3, 16, 16)])
def test_minibatch_discrimination_is_in_d1_only_and_selu_in_d2_only(flags, shape):
    """The paper's two discriminators; the residual blocks are D1's. The flag takes minibatch discrimination away."""
    args = parse(dual.Args, words=[*flags, "--width", "8", "--dataset", "ring" if len(shape) == 1 else "folder"])
    data = None if len(shape) == 1 else torch.randint(256, (20, *shape), dtype=torch.uint8)
    local = inside(dual, data, **vars(args) | {"device": "cpu"})
    kinds = {"M": dual.MinibatchDiscrimination, "R": dual.Residual, "S": nn.SELU, "L": nn.LeakyReLU}
    found = [
        "".join(letter for letter, kind in kinds.items() if any(isinstance(m, kind) for m in D.modules()))
        for D in (local["D1"], local["D2"])
    ]
    assert found == ["RL" if flags else "MRL", "S"]
    assert all(number.isfinite().all() for number in local["update"]().values())


def test_the_second_discriminator_has_the_roles_swapped():
    """D1 is a cross-entropy with real high, D2 the same with generated high: its best logit is minus D1's."""
    numbers, loss = inside(dual, width=8)["update"](), ALGOS["nsgan"].discriminator_loss
    expected = loss(numbers["d1_real"], numbers["d1_fake"]) + loss(numbers["d2_fake"], numbers["d2_real"])
    torch.testing.assert_close(numbers["d_loss"], expected)
    assert not torch.allclose(numbers["d_loss"], loss(numbers["d1_real"], numbers["d1_fake"]) * 2)
