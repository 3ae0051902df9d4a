"""R1: the penalty is gamma / 2 E |grad D(x)|^2 at real samples, exact or by differences, and leads Dirac-GAN in."""

import itertools
import math

import numpy
import pytest
import torch
from conftest import weights
from torch import nn
from torch.autograd.function import once_differentiable

from algos import nsgan, r1

DOUBLE = {"dtype": torch.float64}


def samples(*shape, seed=0):
    """Samples that require a gradient."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **DOUBLE).requires_grad_()


def slope_squared(D, x):
    """E |grad D|^2 by the file's penalty."""
    return r1.gradient_penalty(x, D(x))


def by_quadrature(D, x, sigma, monkeypatch, points=12):
    """E finite_difference over its noise, without sampling error: Gauss-Hermite nodes in place of n, for x [1, d]."""
    nodes, weight = (torch.from_numpy(a) for a in numpy.polynomial.hermite_e.hermegauss(points))
    total = 0
    for index in itertools.product(range(points), repeat=x.shape[1]):
        monkeypatch.setattr(torch, "randn_like", lambda like, index=index: nodes[list(index)].expand_as(like))
        total = total + r1.finite_difference(D, x, D(x), sigma) * weight[list(index)].prod()
    return total / math.sqrt(2 * math.pi) ** x.shape[1]


def smooth(x):
    """A critic with derivatives of every order, for x [B, 2]."""
    return torch.sin(1.3 * x[:, 0] - 0.4) * torch.exp(0.3 * x[:, 1]) + 0.5 * x[:, 0] * x[:, 1]


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4), (3, 4, 4)])
@pytest.mark.parametrize("batch", [1, 8, 64])
def test_linear_critic(shape, batch):
    """D(x) = w.x + b has |grad D|^2 = |w|^2 everywhere, whatever the batch, channels and pixels."""
    w = samples(*shape, seed=1).detach()
    value = slope_squared(lambda x: (x * w).flatten(1).sum(1) + 3, samples(batch, *shape))
    torch.testing.assert_close(value, w.square().sum())


def test_quadratic_critic():
    """D(x) = |x|^2 / 2 has the slope x, another one for each sample: the mean of the squares, not of the slopes."""
    x = samples(16, 3, 4, 4)
    value = slope_squared(lambda x: x.square().flatten(1).sum(1) / 2, x)
    torch.testing.assert_close(value, x.square().flatten(1).sum(1).mean())


def test_gradient_equals_finite_differences():
    """The double backward: d penalty / d weights of a smooth critic. Without create_graph there would be none."""
    x = samples(6, 2)
    parameters = [samples(8, 2, seed=1), samples(8, seed=2), samples(1, 8, seed=3)]

    def value(w1, b1, w2):
        return slope_squared(lambda x: (torch.tanh(x @ w1.T + b1) @ w2.T).squeeze(1), x)

    assert torch.autograd.gradcheck(value, parameters)


def test_flat_critic_has_a_finite_gradient():
    """The square has no root, so a D without a slope (dead units) gives zeros, not NaN."""
    D = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))
    nn.init.constant_(D[0].bias, -100.0)  # no unit is ever active
    value = slope_squared(D, samples(8, 2).float().detach().requires_grad_())
    value.backward()
    assert value.item() == 0 and all(p.grad is None or (p.grad == 0).all() for p in D.parameters())


def test_larger_data_is_a_larger_gamma():
    """gamma has the unit of the data squared: for data a times as large, D(x / a) needs a^2 gamma."""
    x, a = samples(8, 2), 5.0
    large = (a * x).detach().requires_grad_()
    torch.testing.assert_close(a**2 * slope_squared(lambda x: smooth(x / a), large), slope_squared(smooth, x))


def test_the_penalty_is_at_the_real_samples_and_reaches_only_d(inside, monkeypatch):
    local, seen, penalty = inside(r1, seed=3), [], r1.gradient_penalty
    monkeypatch.setattr(r1, "gradient_penalty", lambda x, d: seen.append((x, d, local["D"](x))) or penalty(x, d))
    with torch.no_grad():
        local["G"].net[-1].bias.fill_(100)  # its samples are far away
    numbers = local["d_step"]()
    ((x, d, score),) = seen
    assert torch.cdist(x.detach(), local["data"].modes).min(dim=1).values.max() < 0.2 and torch.equal(d, score)
    assert x.grad is None and all(p.grad is None for p in local["G"].parameters())
    assert all(p.grad is not None for p in local["D"].parameters()) and numbers["gp"] > 0


def test_loss_is_nsgan_s_plus_half_of_gamma_times_the_penalty(inside):
    for gamma in (0.1, 3.0):
        numbers = inside(r1, gamma=gamma, seed=3)["d_step"]()
        expected = nsgan.discriminator_loss(numbers["d_real"], numbers["d_fake"]) + gamma / 2 * numbers["gp"]
        torch.testing.assert_close(numbers["d_loss"], expected)


def test_without_its_weight_it_is_nsgan(inside):
    """With gamma 0 and the same settings, three updates give nsgan.py's weights, bit for bit."""
    common = {"seed": 3, "lr": 1e-3, "beta1": 0.5, "beta2": 0.999, "batch_size": 32, "width": 16}
    ours, theirs = inside(r1, gamma=0.0, **common), inside(nsgan, **common)
    for local in (ours, theirs):
        torch.manual_seed(0)
        for _ in range(3):
            local["update"]()
    assert all(torch.equal(weights(ours[name]), weights(theirs[name])) for name in "GD")


@pytest.mark.parametrize("sigma, forwards", [(0.0, 3), (0.1, 4)])
def test_forwards_of_d_in_an_update(inside, sigma, forwards):
    """Real, fake, and G's fake: the exact penalty takes the slope of a score that is there already."""
    local, calls = inside(r1, sigma=sigma), []
    local["D"].register_forward_hook(lambda *_: calls.append(1))
    local["update"]()
    assert len(calls) == forwards


# the penalty as a finite difference


def test_finite_difference_of_a_linear_critic(monkeypatch):
    """Its expectation is |w|^2, however long the step."""
    w, x = torch.tensor([3.0, -4.0], **DOUBLE), samples(1, 2)
    for sigma in (1e-3, 1.0, 10.0):
        value = by_quadrature(lambda x: x @ w, x, sigma, monkeypatch, points=3)
        torch.testing.assert_close(value, torch.tensor(25.0, **DOUBLE))


def test_finite_difference_of_a_quadratic_critic(monkeypatch):
    """D(x) = x.A x / 2, A symmetric: |A x|^2 + sigma^2 (tr(A)^2 / 4 + |A|^2 / 2) exactly."""
    A, x, sigma = torch.tensor([[2.0, -1.0], [-1.0, 0.5]], **DOUBLE), samples(1, 2), 0.7
    value = by_quadrature(lambda x: ((x @ A) * x).sum(1) / 2, x, sigma, monkeypatch, points=4)
    expected = (x @ A).square().sum() + sigma**2 * (A.trace() ** 2 / 4 + A.square().sum() / 2)
    torch.testing.assert_close(value, expected)


def test_finite_difference_tends_to_the_exact_penalty(monkeypatch):
    """The error is sigma^2 (tr(H)^2 / 4 + |H|^2 / 2 + grad D . grad tr(H)), and what is left falls as sigma^4."""
    x = samples(1, 2)
    H = torch.autograd.functional.hessian(lambda v: smooth(v[None])[0], x[0])

    def trace(v):
        return torch.autograd.functional.hessian(lambda v: smooth(v[None])[0], v, create_graph=True).trace()

    grad, grad_trace = (torch.autograd.functional.jacobian(f, x[0]) for f in (lambda v: smooth(v[None])[0], trace))
    second = H.trace() ** 2 / 4 + H.square().sum() / 2 + grad @ grad_trace
    exact, left = slope_squared(smooth, x), []
    torch.testing.assert_close(exact, grad.square().sum())
    for sigma in (0.2, 0.1, 0.05):
        error = by_quadrature(smooth, x, sigma, monkeypatch) - exact
        left.append((error - sigma**2 * second).abs().item())
        assert error.abs() < 1.5 * sigma**2 * second.abs() + 20 * sigma**4
    assert left[0] / left[1] == pytest.approx(16, rel=0.1) and left[1] / left[2] == pytest.approx(16, rel=0.1)


def test_finite_difference_s_own_gradient_tends_to_the_exact_one(monkeypatch):
    """What D learns from it, too: d penalty / d weights."""
    x, w = samples(1, 2), samples(2, 3, seed=1)

    def D(x):
        return torch.tanh(x @ w).sum(1)

    (exact,) = torch.autograd.grad(slope_squared(D, x), w)
    (near,) = torch.autograd.grad(by_quadrature(D, x, 1e-3, monkeypatch), w)
    torch.testing.assert_close(near, exact, atol=1e-4, rtol=1e-4)


def test_finite_difference_draws_normal_noise_for_each_number():
    """By its own noise, 200,000 samples: (w.n)^2 has the mean |w|^2 and the variance 2 |w|^4."""
    torch.manual_seed(0)
    w, x = samples(3, 4, 4, seed=1).detach(), torch.zeros(200_000, 3, 4, 4, **DOUBLE)
    value = r1.finite_difference(lambda x: (x * w).flatten(1).sum(1), x, torch.zeros(len(x), **DOUBLE), 0.01)
    assert value.item() == pytest.approx(w.square().sum().item(), rel=0.03)  # six standard errors: 0.019


def test_finite_difference_needs_no_double_backward():
    """Some operations can be differentiated only once: the exact penalty has no gradient there."""

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        @once_differentiable
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 3 * x**2 * grad

    x, w = samples(8, 2), samples(2, seed=1)

    def D(x):
        return torch.tanh(Once.apply(x @ w))

    r1.finite_difference(D, x.detach(), D(x.detach()), 0.01).backward()
    assert w.grad.isfinite().all() and w.grad.abs().sum() > 0
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope_squared(D, x).backward()


def test_sigma_trains_with_the_finite_difference(inside, monkeypatch):
    exact, near = (inside(r1, sigma=sigma, seed=3, batch_size=4096)["d_step"]()["gp"] for sigma in (0.0, 0.01))
    assert near.item() == pytest.approx(exact.item(), rel=0.25) and near != exact
