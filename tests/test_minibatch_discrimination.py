"""Minibatch discrimination: the closeness of the samples of a batch, by hand, and D's use of it.

The layer is a copy of the one in dual_d_selu.py, which test_dual_d_selu.py tests, too.
"""

import inspect
import math

import pytest
import torch
from torch import nn

from algos import dual_d_selu, minibatch_discrimination
from scripts.lib.inside import inside


def closeness(x, T):
    """o of samples x [B, F], for weights T [F, kernels, dim]."""
    layer = minibatch_discrimination.MinibatchDiscrimination(*T.shape).to(x.dtype)
    layer.T.data = T
    return layer(x)[:, x.shape[1] :]


def samples(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_two_copies_of_the_layer_are_the_same():
    copies = [inspect.getsource(file.MinibatchDiscrimination) for file in (dual_d_selu, minibatch_discrimination)]
    assert copies[0] == copies[1]


def test_three_samples_by_hand():
    """Two features, two kernels of two dimensions; M = x T, L1 distances within a kernel, without the sample itself."""
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
    T = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.0, 0.25]]])
    # kernel 0: M = (0, 0), (1, 0), (1, 2): distances 1, 3, 2; kernel 1: (0, 0), (.5, .5), (.5, 1): 1, 1.5, .5
    e = math.exp
    expected = [[e(-1) + e(-3), e(-1) + e(-1.5)], [e(-1) + e(-2), e(-1) + e(-0.5)], [e(-3) + e(-2), e(-1.5) + e(-0.5)]]
    torch.testing.assert_close(closeness(x, T), torch.tensor(expected))


def test_order_of_the_batch_only_orders_the_output():
    x, T, order = samples(9, 3), samples(3, 4, 2, seed=1), torch.randperm(9)
    torch.testing.assert_close(closeness(x, T)[order], closeness(x[order], T))


def test_equal_samples_are_the_closest():
    """B - 1 for each; any other batch has less."""
    T = samples(3, 4, 2, seed=1)
    torch.testing.assert_close(closeness(samples(1, 3).expand(6, 3), T), torch.full((6, 4), 5.0, dtype=torch.float64))
    nearly = samples(1, 3) + 0.01 * samples(6, 3, seed=2)
    assert (closeness(nearly, T) < 5).all() and (closeness(samples(6, 3), T) < closeness(nearly, T)).all()


def closeness_of(x, T):
    """As the layer computes it, written out sample by sample."""
    M = torch.stack([torch.stack([row @ T[:, k] for k in range(T.shape[1])]) for row in x])
    others = [[torch.exp(-(M[i] - M[j]).abs().sum(1)) for j in range(len(x)) if j != i] for i in range(len(x))]
    return torch.stack([sum(row) for row in others])


def test_layer_is_the_formula():
    """Value and gradient, in the samples and in T, of the sum written out sample by sample."""
    x, T = samples(6, 3).requires_grad_(), samples(3, 4, 2, seed=1)
    layer = minibatch_discrimination.MinibatchDiscrimination(3, 4, 2).double()
    layer.T.data = T.clone()
    T.requires_grad_()
    ours, written = layer(x)[:, 3:], closeness_of(x, T)
    torch.testing.assert_close(ours, written)
    weight = samples(6, 4, seed=3)
    found = torch.autograd.grad((ours * weight).sum(), (x, layer.T))
    torch.testing.assert_close(found, torch.autograd.grad((written * weight).sum(), (x, T)))


@pytest.mark.parametrize("shape", [(2,), (3, 32, 32)])
def test_d_has_the_layer_before_its_last_product(shape):
    D = minibatch_discrimination.Discriminator(shape, 8)
    *_, layer, last = D.net
    assert isinstance(layer, minibatch_discrimination.MinibatchDiscrimination) and isinstance(last, nn.Linear)
    assert layer.T.shape[0] == (8 if shape == (2,) else 16 * 8 * 4) and last.in_features == sum(layer.T.shape[:2])


def test_a_collapsed_batch_gives_itself_away():
    """D that weighs nothing but closeness: a batch of equal samples gets another logit than a batch of data."""
    D = minibatch_discrimination.Discriminator((2,), 8)
    nn.init.zeros_(D.net[-1].weight)
    nn.init.constant_(D.net[-1].weight[:, 8:], -1.0)  # close to others: fake
    x = inside(minibatch_discrimination)["data"].sample(64)
    assert (D(x[:1].expand(64, 2)) < D(x)).all()
