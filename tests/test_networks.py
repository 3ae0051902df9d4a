"""Shapes, what is refused, and that a discriminator judges each sample by itself."""

import copy
import re

import pytest
import torch
from torch import nn

SHAPES = [(2,), (1, 32, 32), (3, 64, 64), (4, 16, 16), (3, 8, 8)]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_range(algo, shape):
    """D's outputs have the shape that its docstring says: [B], or [B, F]."""
    G, D = algo.Generator(5, shape, 8), algo.Discriminator(shape, 8)
    x = G(torch.randn(4, 5))
    says = re.search(r" to .*?\[B(.*?)\]", algo.Discriminator.__doc__)[1]  # the numbers of a sample
    assert x.shape == (4, *shape) and len(D(x)) == 4 and D(x).dim() == 1 + says.count(",")
    assert len(shape) == 1 or x.abs().max() <= 1
    convolutions = [m for m in G.modules() if isinstance(m, nn.ConvTranspose2d | nn.Conv2d)]
    maps = [m.in_channels for m in convolutions if m.in_channels != 5]
    assert len(shape) == 1 or maps[-1] == 8 and maps[0] == max(shape[1], 16)  # 4x4 maps are the widest


def test_sizes_that_cannot_be_halved_to_4x4_are_refused(algo):
    for size in [(28, 28), (24, 24), (16, 32), (4, 4)]:
        for network, options in [(algo.Generator, {"z_dim": 5}), (algo.Discriminator, {})]:
            with pytest.raises(ValueError, match=rf"{size[0]}\D+{size[1]}.*power of two"):
                network(**options, shape=(1, *size), width=8)


@pytest.mark.parametrize("shape", [(2,), (3, 16, 16)])
def test_score_of_a_sample_does_not_depend_on_the_rest_of_the_batch(algo, shape):
    """But for minibatch discrimination. No batch norm in D, and no bounded output, which would be flat at its ends."""
    torch.manual_seed(0)
    D = algo.Discriminator(shape, 8)
    x, others = torch.randn(1, *shape), torch.randn(7, *shape)
    alone, among = copy.deepcopy(D)(x)[0], copy.deepcopy(D)(torch.cat([x, others]))[0]  # neither changes D
    compares = any(type(m).__name__ == "MinibatchDiscrimination" for m in D.modules())
    assert torch.allclose(alone, among, atol=1e-5, rtol=1e-5) != compares
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm | nn.Dropout | nn.Dropout2d) for m in D.modules())
    assert D(1e4 * torch.randn(64, *shape)).abs().max() > 10


@pytest.mark.parametrize("shape", [(2,), (3, 32, 32)])
def test_every_weight_takes_part(algo, shape):
    """After a backward through D(G(z)), all parameters of both have a gradient that is not zero."""
    torch.manual_seed(0)
    G, D = algo.Generator(5, shape, 16), algo.Discriminator(shape, 16)
    D(G(torch.randn(64, 5))).square().mean().backward()
    for name, parameter in [*G.named_parameters(), *D.named_parameters()]:
        assert parameter.grad.abs().max() > 0, name
    norms = [m for m in G.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(
        (m.eps, m.momentum, m.affine) == (1e-5, 0.1, True) for m in norms
    )  # BatchNorm2d(width, 0.8) would set eps


def test_generated_images_are_normed_by_their_batch_in_training_only(algo):
    """In eval mode, in which samples are measured, by the statistics that batch norm has kept. BEGAN has none."""
    torch.manual_seed(0)
    G, z = algo.Generator(5, (1, 16, 16), 8), torch.randn(8, 5)
    assert torch.allclose(G(z)[:2], G(z[:2]), atol=1e-3) == (algo.__name__ == "algos.began")
    G.eval()
    torch.testing.assert_close(G(z)[:2], G(z[:2]))
