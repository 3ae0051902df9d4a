"""Shapes, and that a discriminator judges each sample by itself."""

import pytest
import torch
from conftest import generator_loss
from torch import nn

SHAPES = [(2,), (1, 32, 32), (3, 32, 32), (4, 16, 16), (3, 64, 64), (1, 128, 128)]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_range(algo, shape):
    G, D = algo.Generator(5, shape, 8), algo.Discriminator(shape, 8)
    x = G(torch.randn(4, 5))
    assert x.shape == (4, *shape) and D(x).shape == (4,)
    assert len(shape) == 1 or x.abs().max() <= 1
    convolutions = [m for m in G.modules() if isinstance(m, nn.ConvTranspose2d | nn.Conv2d)]
    maps = [m.in_channels for m in convolutions if m.in_channels != 5]
    assert len(shape) == 1 or maps[-1] == 8 and maps[0] == 8 * shape[1] // 8  # 4x4 maps are the widest


@pytest.mark.parametrize("shape", [(2,), (3, 32, 32)])
def test_logit_does_not_depend_on_the_rest_of_the_batch(algo, shape):
    D = algo.Discriminator(shape, 8)
    x, others = torch.randn(1, *shape), torch.randn(7, *shape)
    torch.testing.assert_close(D(x)[0], D(torch.cat([x, others]))[0], atol=1e-5, rtol=1e-5)
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    assert not any(isinstance(module, norms) for module in D.modules())


@pytest.mark.parametrize("shape", [(2,), (3, 32, 32)])
def test_every_weight_takes_part(algo, shape):
    """After a backward through D(G(z)), all parameters of both have a gradient that is not zero."""
    torch.manual_seed(0)
    G, D = algo.Generator(5, shape, 16), algo.Discriminator(shape, 16)
    d_fake = D(G(torch.randn(64, 5)))
    generator_loss(algo, D(torch.randn(64, *shape)), d_fake).backward()
    for name, parameter in [*G.named_parameters(), *D.named_parameters()]:
        assert parameter.grad.abs().max() > 0, name
