"""Minibatch discrimination, SELU and residual blocks, and the flags that take each of them away."""

import math

import pytest
import torch
import tyro
from conftest import ALGOS
from torch import nn

dual = ALGOS["dual_d_selu"]


def closeness(x, T):
    layer = dual.MinibatchDiscrimination(*T.shape)
    layer.T.data = T
    out = layer(x)
    assert torch.equal(out[:, : x.shape[1]], x)
    return out[:, x.shape[1] :]


def test_minibatch_discrimination_by_hand():
    """One kernel: 0, 1, 3 on a line. The sample itself, exp(0), is not counted."""
    x = torch.tensor([[0.0], [1.0], [3.0]])
    expected = [math.exp(-1) + math.exp(-3), math.exp(-1) + math.exp(-2), math.exp(-3) + math.exp(-2)]
    torch.testing.assert_close(closeness(x, torch.ones(1, 1, 1)).squeeze(1), torch.tensor(expected))


def test_minibatch_discrimination_sums_the_distance_over_dim_and_keeps_kernels_apart():
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    T = torch.zeros(2, 2, 2)  # features, kernels, dim
    T[0, 0, 0] = T[1, 0, 1] = 1.0  # the first kernel sees both features: distance 1 + 2
    T[0, 1, 0] = 0.5  # the second half of the first one: distance 0.5
    expected = torch.tensor([[math.exp(-3), math.exp(-0.5)]] * 2)
    torch.testing.assert_close(closeness(x, T), expected)


def test_minibatch_discrimination_sees_collapse():
    """n equal samples count n - 1 each, whatever they are; far apart ones 0."""
    T = torch.randn(3, 5, 4)
    torch.testing.assert_close(closeness(torch.randn(1, 3).expand(7, 3), T), torch.full((7, 5), 6.0))
    assert closeness(1000 * torch.randn(7, 3), T).abs().max() < 1e-6
    assert closeness(torch.randn(1, 3), T).abs().max() < 1e-6


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
    out = nn.SELU()(torch.randn(1_000_000))
    assert abs(out.mean()) < 0.005 and abs(out.var() - 1) < 0.01

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


ROWS = [  # of the paper's tables 2 and 3, and what is in D1, in D2
    ("", "MRL", "S"),
    ("--no-minibatch-discrimination", "RL", "S"),
    ("--no-selu", "MRL", "L"),
    ("--both-minibatch-discrimination", "MRL", "MS"),
    ("--both-selu", "MRS", "S"),
    ("--no-resblock", "ML", "S"),
    ("--loss eq6", "MRL", "S"),
    ("--loss hinge", "MRL", "S"),
    ("--gradient-penalty", "MRL", "S"),
    ("--loss hinge --gradient-penalty", "MRL", "S"),
]


@pytest.mark.parametrize(("flags", "first", "second"), ROWS)
@pytest.mark.parametrize("images", [False, True])
def test_every_row_of_the_papers_tables_is_a_flag(flags, first, second, images, inside, tiny_images):
    args = tyro.cli(dual.Args, args=flags.split())
    local = inside(dual, **{**vars(args), **(tiny_images if images else {"width": 8}), "device": "cpu"})
    kinds = {"M": dual.MinibatchDiscrimination, "R": dual.Residual, "S": nn.SELU, "L": nn.LeakyReLU}
    for D, expected in [(local["D1"], first), (local["D2"], second)]:
        assert "".join(k for k, kind in kinds.items() if any(isinstance(m, kind) for m in D.modules())) == expected
    numbers = local["update"]()
    plain = dual.discriminator1_loss(numbers["d1_real"], numbers["d1_fake"], args.loss)
    plain = plain + dual.discriminator2_loss(numbers["d2_real"], numbers["d2_fake"], args.loss)
    penalty = (numbers["d_loss"] - plain).item()
    assert penalty > 0.01 if args.gradient_penalty else abs(penalty) < 1e-6
