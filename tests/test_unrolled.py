"""The unroll: it is D's own Adam, G's gradient goes through it, and D stays as it is."""

import copy

import pytest
import torch
from conftest import ALGOS, same
from torch import nn
from torch.func import functional_call

unrolled = ALGOS["unrolled"]


def player(seed=0, activation=nn.Tanh, steps=3):
    """A small D in float64 whose Adam has already made some steps, real samples, and fakes that want a gradient."""
    torch.manual_seed(seed)
    D = nn.Sequential(nn.Linear(2, 6), activation(), nn.Linear(6, 1), nn.Flatten(0)).double()
    d_opt = torch.optim.Adam(D.parameters(), lr=torch.tensor(0.05), betas=(0.5, 0.9), fused=True, capturable=True)
    real, fake = torch.randn(2, 5, 2, dtype=torch.float64)
    for _ in range(steps):
        adam_step(D, d_opt, real, fake)
    return D, d_opt, real, fake.requires_grad_()


def adam_step(D, d_opt, real, fake):
    d_opt.zero_grad()
    unrolled.discriminator_loss(D(real), D(fake.detach())).backward()
    d_opt.step()


def value(D, d_opt, real, fake, K, fake_inside=None):
    """What G minimises: f_K of the samples `fake`."""
    weights = unrolled.unroll(D, d_opt, real, fake if fake_inside is None else fake_inside, K)
    return unrolled.generator_loss(functional_call(D, weights, real), functional_call(D, weights, fake))


@pytest.mark.parametrize("K", [0, 1, 5])
def test_unrolled_weights_are_those_of_k_more_steps_of_adam(K):
    D, d_opt, real, fake = player()
    weights = unrolled.unroll(D, d_opt, real, fake, K)
    for _ in range(K):
        adam_step(D, d_opt, real, fake)
    for name, weight in D.named_parameters():
        torch.testing.assert_close(weights[name], weight, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("K", [0, 1, 5])
def test_gradient_equals_finite_differences(K):
    """A true unroll: how D's K steps answer to a change of the fakes is part of the gradient."""
    D, d_opt, real, fake = player()
    assert torch.autograd.gradcheck(lambda fake: value(D, d_opt, real, fake, K), fake)


def test_looking_ahead_without_differentiating_is_something_else():
    """Ordinary steps of D that G does not see through, called unrolling in some public code, are far off."""
    D, d_opt, real, fake = player()
    (true,) = torch.autograd.grad(value(D, d_opt, real, fake, 5), fake)
    (first_order,) = torch.autograd.grad(value(D, d_opt, real, fake, 5, fake.detach()), fake)
    assert (true - first_order).norm() > 0.1 * true.norm()


def test_no_steps_is_the_minimax_gan():
    D, d_opt, real, fake = player()
    (gradient,) = torch.autograd.grad(value(D, d_opt, real, fake, 0), fake)
    (expected,) = torch.autograd.grad(ALGOS["gan"].generator_loss(D(fake)), fake)
    assert torch.equal(gradient, expected)


def test_discriminator_and_its_optimiser_stay_as_they_are():
    D, d_opt, real, fake = player()
    before = copy.deepcopy((D.state_dict(), d_opt.state_dict(), [p.grad for p in D.parameters()]))
    value(D, d_opt, real, fake, 5).backward(inputs=[fake])
    after = (D.state_dict(), d_opt.state_dict(), [p.grad for p in D.parameters()])
    assert same(before, after)


def test_before_the_first_step_of_adam_is_refused():
    """Adam has no averages yet, from which the unroll could go on."""
    D, d_opt, real, fake = player(steps=0)
    with pytest.raises(ValueError, match="make a first step"):
        unrolled.unroll(D, d_opt, real, fake, 1)


def test_dead_units_do_not_make_nan():
    """A weight whose gradient is 0 at every step has v = 0, where a square root has no slope."""
    D, d_opt, real, fake = player(activation=nn.ReLU, steps=0)
    nn.init.constant_(D[0].bias, -100.0)
    adam_step(D, d_opt, real, fake)
    (gradient,) = torch.autograd.grad(value(D, d_opt, real, fake, 5), fake)
    assert gradient.isfinite().all()


def xy_game(monkeypatch, x, y, eta, K):
    """d f_K / dx of f = x y, where y ascends f for K steps of eta: Adam with v held at 1 is plain gradient ascent."""

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.y = nn.Parameter(torch.tensor([y], dtype=torch.float64))

        def forward(self, x):
            return x * self.y

    D, x = Product(), torch.tensor([x], dtype=torch.float64, requires_grad=True)
    d_opt = torch.optim.Adam(D.parameters(), lr=eta, betas=(0.0, 1 - 1e-13), eps=0.0)
    one = torch.ones(1, dtype=torch.float64)
    d_opt.state[D.y] = {"step": torch.tensor(1e15, dtype=torch.float64), "exp_avg": 0 * one, "exp_avg_sq": one}
    monkeypatch.setattr(unrolled, "discriminator_loss", lambda d_real, d_fake: -d_fake.sum())
    return torch.autograd.grad(value(D, d_opt, x.detach(), x, K), x)[0].item()


@pytest.mark.parametrize("K", [0, 1, 5])
def test_xy_game(monkeypatch, K):
    """f_K = x y + K eta x^2, so its slope is y + 2 K eta x; a fake unroll has y + K eta x."""
    assert xy_game(monkeypatch, x=3.0, y=-0.7, eta=0.1, K=K) == pytest.approx(-0.7 + 2 * K * 0.1 * 3, abs=1e-9)
