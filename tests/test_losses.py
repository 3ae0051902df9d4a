"""Each loss against its closed form, and against the divergence it descends when D is optimal."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import ALGOS

ENTROPY = ["gan", "nsgan"]  # D minimises the binary cross-entropy
WASSERSTEIN = ["wgan_gp"]


def expectation(loss, values, probability):
    """E loss(value) over a categorical distribution, from a loss that is a mean over a batch."""
    return sum(p * loss(v.view(1)) for v, p in zip(values, probability, strict=True))


def kl(p, q):
    return (p * (p / q).log()).sum()


def js(p, q):
    return (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2


def random_pair(seed):
    """Two random categorical distributions: p_data, and p_g = softmax(l) as a function of the returned l."""
    generator = torch.Generator().manual_seed(seed)
    bins = 2 + seed % 30
    scale = [0.1, 1.0, 3.0][seed % 3]
    p_data = torch.softmax(scale * torch.randn(bins, generator=generator, dtype=torch.float64), 0)
    l = (scale * torch.randn(bins, generator=generator, dtype=torch.float64)).requires_grad_()  # noqa: E741
    return p_data, l


def gradient(value, l):  # noqa: E741
    return torch.autograd.grad(value, l)[0]


@pytest.mark.parametrize("name", ENTROPY)
def test_discriminator_loss_is_the_cross_entropy(name):
    d_real, d_fake = torch.tensor([0.3, -2.0]), torch.tensor([1.5, 0.0, -4.0])
    expected = F.binary_cross_entropy_with_logits(d_real, torch.ones(2))
    expected += F.binary_cross_entropy_with_logits(d_fake, torch.zeros(3))
    torch.testing.assert_close(ALGOS[name].discriminator_loss(d_real, d_fake), expected)


@pytest.mark.parametrize("name", ENTROPY)
def test_discriminator_is_optimal_at_the_log_density_ratio(name):
    """Goodfellow et al. 2014, proposition 1: D* = p_data / (p_data + p_g), so its logit is log p_data / p_g."""
    loss, zero = ALGOS[name].discriminator_loss, torch.zeros(1, dtype=torch.float64)
    for seed in range(20):
        p_data, l = random_pair(seed)  # noqa: E741
        p_g = torch.softmax(l.detach(), 0)
        d = (p_data / p_g).log().requires_grad_()
        value = expectation(lambda v: loss(v, zero), d, p_data) + expectation(lambda v: loss(zero, v), d, p_g)
        assert gradient(value, d).abs().max() < 1e-12
        # theorem 1: the value of the game is -log 4 + 2 JS, and each loss(zero) above adds log 2
        torch.testing.assert_close(-(value.detach() - math.log(4)), -math.log(4) + 2 * js(p_data, p_g))


@pytest.mark.parametrize(
    ("name", "divergence"),
    [
        ("gan", lambda p_data, p_g: 2 * js(p_data, p_g)),  # Goodfellow et al. 2014, theorem 1
        (
            "nsgan",
            lambda p_data, p_g: kl(p_g, p_data) - 2 * js(p_data, p_g),
        ),  # Arjovsky & Bottou 2017, theorem 2.5
    ],
)
def test_generator_descends_its_divergence(name, divergence):
    """With D at its optimum and held there, G's gradient is that of a divergence between p_data and p_g."""
    for seed in range(20):
        p_data, l = random_pair(seed)  # noqa: E741
        p_g = torch.softmax(l, 0)
        optimal = (p_data / p_g).log().detach()
        value = expectation(ALGOS[name].generator_loss, optimal, p_g)
        expected = gradient(divergence(p_data, torch.softmax(l, 0)), l)
        assert expected.abs().max() > 1e-6
        torch.testing.assert_close(gradient(value, l), expected, atol=1e-12, rtol=1e-9)


def test_non_saturating_divergence_is_never_negative():
    """KL(p_g || p_data) - 2 JS = 2 KL((p_data + p_g) / 2 || p_data): no negative JS is being maximised."""
    for seed in range(20):
        p_data, l = random_pair(seed)  # noqa: E741
        p_g = torch.softmax(l.detach(), 0)
        value = kl(p_g, p_data) - 2 * js(p_data, p_g)
        torch.testing.assert_close(value, 2 * kl((p_data + p_g) / 2, p_data))


def test_minimax_loss_saturates_and_the_non_saturating_one_does_not():
    """The gradient per logit is -s(D(G)) for minimax and -(1 - s(D(G))) else; at -40 a sigmoid + log loses it."""
    d_fake = torch.tensor([-40.0, -5.0, 0.0, 5.0], requires_grad=True)
    for name, expected in [("gan", -torch.sigmoid(d_fake)), ("nsgan", torch.sigmoid(d_fake) - 1)]:
        torch.testing.assert_close(gradient(4 * ALGOS[name].generator_loss(d_fake), d_fake), expected)


@pytest.mark.parametrize("name", ALGOS)
def test_losses_are_stable_at_extreme_logits(name):
    """Finite values and gradients at +-1000, and the mean over the batch, not the sum."""
    module = ALGOS[name]
    for real, fake in [(1000.0, -1000.0), (-1000.0, 1000.0)]:
        for n in (1, 64):
            d_real, d_fake = (
                torch.full((n,), real, requires_grad=True),
                torch.full((n,), fake, requires_grad=True),
            )
            d_loss, g_loss = module.discriminator_loss(d_real, d_fake), module.generator_loss(d_fake)
            slopes = [*torch.autograd.grad(d_loss, (d_real, d_fake)), *torch.autograd.grad(g_loss, d_fake)]
            assert d_loss.isfinite() and g_loss.isfinite() and d_loss.shape == g_loss.shape == ()
            assert all(slope.isfinite().all() and slope.sum().abs() <= 1.0001 for slope in slopes)
            expected = module.discriminator_loss(d_real[:1], d_fake[:1])
            torch.testing.assert_close(d_loss, expected)


@pytest.mark.parametrize("name", ALGOS)
def test_losses_have_the_right_signs(name):
    """D wants real up and fake down; G wants fake up."""
    d_real, d_fake = torch.randn(8, requires_grad=True), torch.randn(8, requires_grad=True)
    real, fake = torch.autograd.grad(ALGOS[name].discriminator_loss(d_real, d_fake), (d_real, d_fake))
    assert (real < 0).all() and (fake > 0).all()
    assert (gradient(ALGOS[name].generator_loss(d_fake), d_fake) < 0).all()


@pytest.mark.parametrize("name", WASSERSTEIN)
def test_wasserstein_losses_are_the_dual_of_w1(name):
    """In one dimension the best 1-Lipschitz critic has slope sign(F_g - F_data), and its value is W1."""
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    fake = 2 * fake + 1
    x, order = torch.cat([real, fake]).sort()
    cdf_real = torch.cumsum((order < 50).double(), 0)[:-1] / 50
    cdf_fake = torch.cumsum((order >= 50).double(), 0)[:-1] / 50
    slope = torch.sign(cdf_fake - cdf_real)
    critic = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumsum(slope * x.diff(), 0)])
    value = torch.empty(100, dtype=torch.float64)
    value[order] = critic
    w1 = (real.sort().values - fake.sort().values).abs().mean()
    torch.testing.assert_close(ALGOS[name].discriminator_loss(value[:50], value[50:]), -w1)
    torch.testing.assert_close(ALGOS[name].generator_loss(value[50:]), -value[50:].mean())
