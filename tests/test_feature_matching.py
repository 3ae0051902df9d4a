"""Feature matching: G's loss is the squared distance of two means of features, and its step compares the right two."""

import pytest
import torch
from torch import nn

from algos import feature_matching, nsgan
from scripts.lib.inside import inside

DOUBLE = {"dtype": torch.float64}


def test_by_hand():
    """Means (1, 2) and (4, -2): 3^2 + 4^2. A sum over the features, not a mean, and no root."""
    f_real, f_fake = torch.tensor([1.0, 2.0]), torch.tensor([4.0, -2.0])
    assert feature_matching.generator_loss(f_real, f_fake).item() == 25


def test_gradient_for_linear_features():
    """f(x) = W x: the loss is |W (mean x - mean g)|^2, and each of n samples g has the gradient -2/n W'W (...)."""
    generator = torch.Generator().manual_seed(0)
    W, x, g = (torch.randn(n, 3, generator=generator, **DOUBLE) for n in (5, 7, 4))
    g.requires_grad_()
    loss = feature_matching.generator_loss((x @ W.T).mean(0), (g @ W.T).mean(0))
    gap = (x.mean(0) - g.mean(0)).detach()
    torch.testing.assert_close(loss, (W @ gap).square().sum())
    loss.backward()
    torch.testing.assert_close(g.grad, (-2 / 4 * W.T @ W @ gap).expand(4, 3))


@pytest.mark.parametrize("shape", [(2,), (3, 16, 16), (1, 64, 64)])
def test_features_are_those_of_the_last_hidden_layer(shape):
    """D is the one of nsgan.py, weight for weight; its score is one linear function of the features."""
    torch.manual_seed(0)
    D = feature_matching.Discriminator(shape, 8)
    torch.manual_seed(0)
    reference = nsgan.Discriminator(shape, 8)
    x = torch.randn(6, *shape)
    score, f = D(x), D(x, True)
    assert torch.equal(score, reference(x)) and f.shape[0] == 6 and f.dim() == 2
    last = D.score[0]
    torch.testing.assert_close(f @ last.weight.flatten() + last.bias, score)
    assert len([m for m in D.net if isinstance(m, nn.Linear | nn.Conv2d)]) == len(D.net) // 2  # each with its unit
    assert f.min() >= 0 if shape == (2,) else (f < 0).any()  # after ReLU, and after leaky ReLU


def test_g_step_compares_its_own_real_samples_with_the_generated_ones(monkeypatch):
    """The logged loss is that of fresh samples, the target has no gradient, and D learns nothing from it."""
    local, samples, outputs = inside(feature_matching), [], []
    sample, forward = local["data"].sample, local["D"].forward
    monkeypatch.setattr(local["data"], "sample", lambda n: samples.append(sample(n)) or samples[-1])

    def noted(x, features=False):
        outputs.append((x, features, forward(x, features)))
        return outputs[-1][2]

    local["D"].forward = noted
    before = [p.clone() for p in local["D"].parameters()]
    numbers = local["g_step"]()
    assert len(samples) == 1 and [features for _, features, _ in outputs] == [True, True]
    (fake, _, f_fake), (real, _, f_real) = sorted(outputs, key=lambda output: not output[2].requires_grad)
    assert torch.equal(real, samples[0]) and not f_real.requires_grad and fake.requires_grad
    torch.testing.assert_close(numbers["g_loss"], (f_real.mean(0) - f_fake.mean(0)).square().sum())
    assert all(p.grad is None for p in local["D"].parameters())
    assert all(map(torch.equal, before, local["D"].parameters()))
    local["update"]()
    assert len(samples) == 3  # D's, and G's own


def test_processes_join_the_means_and_not_the_losses(monkeypatch):
    """Means over a batch, before the square, are what run.mean joins over processes: tests/test_processes.py."""
    local = inside(feature_matching)
    means, passed = [], local["run"].mean
    monkeypatch.setattr(local["run"], "mean", lambda f: means.append(f) or passed(f))
    local["g_step"]()
    width = local["args"].width
    assert [f.shape for f in means] == [(width,), (width,)]
