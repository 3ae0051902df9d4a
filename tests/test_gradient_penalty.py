"""The gradient penalty: right norm, right points, right gradient. Each test catches a bug seen in public code."""

import pytest
import torch
from conftest import ALGOS
from torch import nn

NAMES = ["wgan_gp"]  # files with gradient_penalty(D, real, fake)


@pytest.fixture(params=NAMES)
def penalty(request):
    return ALGOS[request.param].gradient_penalty


def samples(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4), (3, 4, 4)])
@pytest.mark.parametrize("norm", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("batch", [1, 8, 64])
def test_linear_critic(penalty, shape, norm, batch):
    """D(x) = <w, x> has slope |w| everywhere: exactly (|w| - 1)^2, whatever the batch, channels and pixels."""
    w = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    w *= norm / w.norm()
    value = penalty(lambda x: (x * w).flatten(1).sum(1), *samples(batch, *shape))
    torch.testing.assert_close(value, torch.tensor((norm - 1) ** 2), atol=1e-5, rtol=1e-5)


def test_points_between_real_and_fake_with_one_eps_per_sample(penalty):
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    torch.manual_seed(0)
    real, fake = samples(1000, 3, 4, 4)
    penalty(critic, real, fake)
    eps = ((seen[0] - fake) / (real - fake)).flatten(1)  # [1000, 48]
    center = eps.median(dim=1).values
    assert (eps - center[:, None]).abs().quantile(0.99) < 1e-3  # the same for all of a sample
    assert center.min() >= -1e-3 and center.max() <= 1.001 and center.std() > 0.25  # U[0, 1]: sd 0.289
    assert abs(center.mean() - 0.5) < 0.05


def test_quadratic_critic(penalty):
    """D(x) = |x|^2 / 2 has the slope |x|, a different one for each sample."""
    x, _ = samples(16, 3, 4, 4)
    value = penalty(lambda x: x.square().flatten(1).sum(1) / 2, x, x)
    torch.testing.assert_close(value, (x.flatten(1).norm(dim=1) - 1).square().mean())


def test_the_generator_gets_no_gradient(penalty):
    real, fake = samples(8, 2)
    real.requires_grad_()
    fake.requires_grad_()
    D = nn.Linear(2, 1)
    penalty(lambda x: D(x).squeeze(1), real, fake).backward()
    assert real.grad is None and fake.grad is None and D.weight.grad.abs().sum() > 0


def test_zero_slope_has_a_finite_gradient(penalty):
    """sqrt has no derivative at 0: a critic that is flat (dead units, the first step) must not become NaN."""
    D = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    nn.init.constant_(D[0].bias, -100.0)  # no unit is ever active
    value = penalty(lambda x: D(x).squeeze(1), *samples(8, 2))
    value.backward()
    assert value.item() == 1.0
    assert all(p.grad is None or p.grad.isfinite().all() for p in D.parameters())


def test_gradient_equals_finite_differences(penalty):
    """The double backward: d penalty / d weights of a smooth critic, in float64."""
    real, fake = (x.double() for x in samples(6, 2))
    shapes = [(8, 2), (8,), (1, 8)]
    weights = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]

    def value(w1, b1, w2):
        torch.manual_seed(0)  # the same eps each time
        return penalty(lambda x: (torch.tanh(x @ w1.T + b1) @ w2.T).squeeze(1), real, fake)

    assert torch.autograd.gradcheck(value, weights)


def test_larger_data_is_a_smaller_lambda():
    """For data a times as large, with D(x / a) a in place of D(x), the whole loss is a times that of lambda / a."""
    module, a, lambda_ = ALGOS["wgan_gp"], 5.0, 10.0
    real, fake = samples(8, 2)
    D = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0))

    def loss(critic, real, fake, weight):
        torch.manual_seed(0)
        return module.discriminator_loss(critic(real), critic(fake)) + weight * module.gradient_penalty(
            critic, real, fake
        )

    large = loss(lambda x: a * D(x / a), a * real, a * fake, lambda_)
    torch.testing.assert_close(large, a * loss(D, real, fake, lambda_ / a), rtol=1e-4, atol=1e-5)
