"""The gradient penalty: right norm, right points, right gradient. Each test catches a bug seen in public code."""

import inspect
from pathlib import Path

import pytest
import torch
from conftest import ALGOS
from torch import nn

from scripts.lib.inside import inside

SLOPE_1 = {"wgan_gp", "dragan"}  # files whose gradient_penalty wants slope 1, given real samples: (D, real, ...)


@pytest.fixture(params=sorted(SLOPE_1))
def penalty(request):
    """gradient_penalty(D, real, fake) of each file that wants slope 1; DRAGAN's at the real samples."""
    penalty = ALGOS[request.param].gradient_penalty
    between = "fake" in inspect.signature(penalty).parameters
    return penalty if between else lambda D, real, fake: penalty(D, real)


def test_every_penalty_is_tested():
    """Here if it wants slope 1, else in the file's own test file."""
    for name, module in ALGOS.items():
        own = Path(__file__).with_name(f"test_{name}.py")
        for function in vars(module):
            if "penalty" in function and name not in SLOPE_1:
                hint = f"test {function} of {name}.py in {own.name}, or name it in SLOPE_1"
                assert own.exists() and function in own.read_text(), hint


def samples(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


@pytest.mark.parametrize("shape", [(2,), (3, 4, 4)])
@pytest.mark.parametrize("norm", [0.5, 1.0, 3.0])
def test_linear_critic(penalty, shape, norm):
    """D(x) = <w, x> has slope |w| everywhere: exactly (|w| - 1)^2, whatever the batch, channels and pixels."""
    w = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    w *= norm / w.norm()
    for batch in (1, 8, 64):
        value = penalty(lambda x: (x * w).flatten(1).sum(1), *samples(batch, *shape))
        torch.testing.assert_close(value, torch.tensor((norm - 1) ** 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["wgan_gp", "cramer"])
def test_points_between_real_and_fake_with_one_eps_per_sample(name):
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    torch.manual_seed(0)
    real, fake = samples(1000, 3, 4, 4)
    ALGOS[name].gradient_penalty(critic, real, fake)
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


def test_everything_is_on_the_device_of_the_samples(penalty):
    """Random numbers drawn on the CPU would fail on a GPU; here the meta device, without any values, stands for it."""
    real, fake = (x.to("meta") for x in samples(8, 3, 4, 4))
    assert penalty(lambda x: x.flatten(1).sum(1), real, fake).device.type == "meta"


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


def test_dragan_perturbs_by_the_formula():
    """N(0, c I): c is a variance, the noise is centred, and each pixel has a number of its own."""
    torch.manual_seed(0)
    real = 3 * torch.randn(4000, 3, 4, 4)
    noise = ALGOS["dragan"].perturb(real, 0.04) - real
    assert noise.mean().abs() < 0.003 and abs(noise.std() - 0.2) < 0.003
    assert torch.corrcoef(noise.flatten(1).T)[0, 1:].abs().max() < 0.1


def test_dragan_asks_for_slope_k():
    real, _ = samples(8, 2)
    w = torch.tensor([3.0, 4.0])
    value = ALGOS["dragan"].gradient_penalty(lambda x: (x * w).sum(1), real, 2.0)
    torch.testing.assert_close(value, torch.tensor(9.0))


def test_dragan_penalises_at_real_samples_only(monkeypatch):
    """However far away the generator is, D's slope is asked for next to the data."""
    local, seen = inside(ALGOS["dragan"], noise_variance=1e-4), []
    penalty = ALGOS["dragan"].gradient_penalty
    monkeypatch.setattr(ALGOS["dragan"], "gradient_penalty", lambda D, x, k: seen.append(x) or penalty(D, x, k))
    with torch.no_grad():
        local["G"].net[-1].bias.fill_(100)
    local["d_step"]()
    assert torch.cdist(seen[0], local["data"].modes).min(dim=1).values.max() < 0.15
