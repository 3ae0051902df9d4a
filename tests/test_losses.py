"""Each loss against its closed form, and against the divergence it descends when D is optimal."""

import inspect
import math
import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from conftest import ALGOS, generator_loss, load_script

pathologies = load_script("pathologies")
EXACT, gradients, random_pair = pathologies.EXACT, pathologies.gradients, pathologies.random_pair
kl, js, inverse_softplus = pathologies.kl, pathologies.js, pathologies.inverse_softplus

ENTROPY = ["gan", "nsgan", "pacgan", "dragan", "unrolled", "mlegan"]  # D minimises the binary cross-entropy
WASSERSTEIN = ["wgan", "wgan_gp"]
STEEP = {"lsgan", "mlegan"}  # losses whose slope in D's output exceeds 1


def discriminator_losses(module):
    """[(loss(real, fake), sign)]: of D, or of D1 and D2; sign 1 if high output means real, -1 if low does."""
    if hasattr(module, "discriminator_loss"):
        if "k" in inspect.signature(module.discriminator_loss).parameters:
            return [(lambda real, fake: module.discriminator_loss(real, fake, torch.tensor(0.5)), -1)]
        return [(module.discriminator_loss, 1)]
    return [(module.discriminator1_loss, 1), (module.discriminator2_loss, -1)]


def expectation(loss, values, probability):
    """E loss(value) over a categorical distribution, from a loss that is a mean over a batch."""
    return sum(p * loss(v.view(1)) for v, p in zip(values, probability, strict=True))


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


D2GAN = {"alpha": 0.2, "beta": 0.1}


@pytest.mark.parametrize("row", EXACT, ids=[row.file for row in EXACT])
def test_generator_descends_its_divergence(row):
    """With D at its optimum and held there, G's gradient is that of a divergence between p_data and p_g."""
    for seed in range(20):
        followed, wanted = gradients(row, *random_pair(seed))
        assert wanted.abs().max() > 1e-7
        torch.testing.assert_close(followed, wanted, atol=1e-12 if row.packs == 1 else 1e-9, rtol=1e-8)


def test_pairs_are_two_independent_samples():
    """PacGAN's row is of p(x) p(y) and q(x) q(y), all pairs, not of p and q again."""
    row = next(row for row in EXACT if row.packs == 2)
    p, l = random_pair(4)  # noqa: E741
    q = torch.softmax(l, 0)
    pairs = [(p[i] * p[j], q[i] * q[j]) for i in range(len(p)) for j in range(len(p))]
    p2, q2 = (torch.stack(x) for x in zip(*pairs, strict=True))
    expected = gradient(2 * kl((p2 + q2) / 2, p2), l)
    torch.testing.assert_close(gradients(row, p, l)[0], expected, atol=1e-9, rtol=1e-6)


def test_every_file_has_a_divergence_or_a_reason():
    """BEGAN holds the ratio of D's errors, whatever p_g; the unrolled loss is no loss of a D that stands still."""
    assert {re.split(r"\W", row.file)[0] for row in EXACT} == set(ALGOS) - {"began", "unrolled"}


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
def test_losses_are_stable_at_extreme_outputs(name):
    """Finite values and gradients at +-1000, and the mean over the batch, not the sum."""
    module = ALGOS[name]
    for real, fake in [(1000.0, -1000.0), (-1000.0, 1000.0)]:
        for loss in [*(loss for loss, _ in discriminator_losses(module)), partial(generator_loss, module)]:
            values = []
            for n in (1, 64):
                outputs = [torch.full((n,), x, requires_grad=True) for x in (real, fake)]
                value = loss(*outputs)
                assert value.isfinite() and value.shape == ()
                slopes = torch.autograd.grad(value, outputs, allow_unused=True)
                slopes = [slope for slope in slopes if slope is not None]
                assert all(slope.isfinite().all() for slope in slopes)
                assert name in STEEP or all(slope.sum().abs() <= 1.0001 for slope in slopes)
                values.append(value)
            torch.testing.assert_close(*values)


@pytest.mark.parametrize("name", ALGOS)
def test_losses_have_the_right_signs(name):
    """D wants real up and fake down (or, where low means real, the reverse); G wants the opposite for its own."""
    outputs = [torch.rand(8, requires_grad=True) for _ in range(2)]
    signs = []
    for loss, sign in discriminator_losses(ALGOS[name]):
        real, fake = torch.autograd.grad(loss(*outputs), outputs)
        assert (sign * real < 0).all() and (sign * fake > 0).all()
        signs.append(sign)
    if len(signs) == 2:
        slopes = torch.autograd.grad(ALGOS[name].generator_loss(*outputs), outputs)
        assert all((sign * slope < 0).all() for sign, slope in zip(signs, slopes, strict=True))
    else:
        assert (signs[0] * gradient(generator_loss(ALGOS[name], *outputs), outputs[1]) < 0).all()


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


def test_least_squares_discriminator_is_optimal_at_the_weighted_codes():
    """Mao et al. 2017, equation 5: D* = (b p_data + a p_g) / (p_data + p_g), whatever the codes a, b."""
    loss = ALGOS["lsgan"].discriminator_loss
    for seed in range(20):
        p_data, l = random_pair(seed)  # noqa: E741
        p_g = torch.softmax(l.detach(), 0)
        a, b = torch.randn(2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
        d = ((b * p_data + a * p_g) / (p_data + p_g)).requires_grad_()
        real = expectation(lambda v, a=a, b=b: loss(v, torch.tensor([a]), a, b), d, p_data)
        fake = expectation(lambda v, a=a, b=b: loss(torch.tensor([b]), v, a, b), d, p_g)
        assert gradient(real + fake, d).abs().max() < 1e-12


def test_least_squares_value_is_pearson_chi_square_for_the_codes_minus_1_1_0():
    """Mao et al. 2017, equation 8: with b - c = 1 and b - a = 2 the value at D* is chi2(p_data + p_g || 2 p_g).

    The value, and not what training follows, where D stays as it is: near the optimum G's gradient then is of
    second order and points away from chi-square's as often as not. That of the 0-1 codes has its direction.
    """
    loss, found = ALGOS["lsgan"].generator_loss, {0.0: [], 1.0: []}  # by c: cosine, ratio of the norms
    for seed in range(200):
        p_data, l = random_pair(seed)  # noqa: E741
        p_g = torch.softmax(l, 0)
        d = (p_data - p_g) / (p_data + p_g)
        value = expectation(lambda v: loss(v, 0.0), d, p_data) + expectation(lambda v: loss(v, 0.0), d, p_g)
        chi_square = ((2 * p_g - (p_data + p_g)).square() / (p_data + p_g)).sum()
        torch.testing.assert_close(value, chi_square)

        noise = torch.randn(l.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        l = (p_data.log() + 0.01 * noise).requires_grad_()  # noqa: E741
        p_g = torch.softmax(l, 0)
        wanted = gradient(((p_g - p_data).square() / (p_data + p_g)).sum(), l)
        for c, d in [(0.0, (p_data - p_g) / (p_data + p_g)), (1.0, p_data / (p_data + p_g))]:
            followed = gradient(expectation(lambda v, c=c: loss(v, c), d.detach(), torch.softmax(l, 0)), l)
            cosine = F.cosine_similarity(followed, wanted, dim=0).item()
            found[c].append((cosine, (followed.norm() / wanted.norm()).item()))
    away = [cosine < 0 for cosine, _ in found[0.0]]
    assert 0.4 < sum(away) / 200 and max(ratio for _, ratio in found[0.0]) < 0.05
    assert min(cosine for cosine, _ in found[1.0]) > 0.99 and min(ratio for _, ratio in found[1.0]) > 0.2


def test_two_discriminators_of_d2gan_are_optimal_at_the_density_ratios():
    """Nguyen et al. 2017, proposition 1 and theorem 2: D1* = alpha p_data / p_g, D2* = beta p_g / p_data."""
    module, (alpha, beta) = ALGOS["d2gan"], D2GAN.values()
    for seed in range(20):
        p_data, l = random_pair(seed)  # noqa: E741
        p_g = torch.softmax(l.detach(), 0)
        d1 = inverse_softplus(alpha * p_data / p_g).requires_grad_()
        d2 = inverse_softplus(beta * p_g / p_data).requires_grad_()
        real = [module.discriminator1_loss(d, d, alpha) - F.softplus(d) for d in d1.view(-1, 1)]
        fake = [module.discriminator2_loss(d, d, beta) - F.softplus(d) for d in d2.view(-1, 1)]
        d1_loss = (p_data * torch.cat(real)).sum() + (p_g * F.softplus(d1)).sum()
        d2_loss = (p_g * torch.cat(fake)).sum() + (p_data * F.softplus(d2)).sum()
        assert gradient(d1_loss, d1).abs().max() < 1e-9 and gradient(d2_loss, d2).abs().max() < 1e-9
        value = alpha * (math.log(alpha) - 1) + beta * (math.log(beta) - 1)
        value = value + alpha * kl(p_data, p_g) + beta * kl(p_g, p_data)
        torch.testing.assert_close(-(d1_loss + d2_loss).detach(), value)


def test_log_softplus_is_exact_and_never_log_of_zero():
    x = torch.tensor([-1e4, -100, -50, -21, -20, -19, -5, 0, 5, 100], dtype=torch.float64, requires_grad=True)
    value = ALGOS["d2gan"].log_softplus(x)
    expected = torch.where(x < -30, x, F.softplus(x.clamp(min=-30)).log())
    torch.testing.assert_close(value, expected, atol=2e-9, rtol=1e-12)
    slope = torch.where(x < -30, 1.0, (torch.sigmoid(x) / F.softplus(x)).nan_to_num())
    torch.testing.assert_close(gradient(value.sum(), x), slope, atol=2e-9, rtol=1e-12)


def test_dual_discriminators_are_opposed_cross_entropies():
    """D2's loss is D1's with real and generated samples swapped, so its best logit is minus D1's."""
    module, (real, fake) = ALGOS["dual_d_selu"], torch.randn(2, 8)
    for loss in ("paper", "eq6", "hinge"):
        swapped = module.discriminator2_loss(fake, real, loss)
        assert torch.equal(module.discriminator1_loss(real, fake, loss), swapped)
    expected = ALGOS["nsgan"].discriminator_loss(real, fake)
    assert torch.equal(module.discriminator1_loss(real, fake, "paper"), expected)
    hinge = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    torch.testing.assert_close(module.discriminator1_loss(real, fake, "hinge"), hinge)


def test_dual_generator_loss_is_that_of_one_discriminator():
    """Where D2 = 1 - D1, -log D1 + log D2 is -logit of D1: the two discriminators act as one."""
    d = torch.linspace(-30, 30, 13, dtype=torch.float64)
    torch.testing.assert_close(ALGOS["dual_d_selu"].generator_loss(d, -d), -d.mean())


def test_maximum_likelihood_value_says_nothing_and_the_guard_bounds_the_weight():
    """E exp(logit*) = 1 always; above max_logit the slope, a sample's weight, stays exp(max_logit)."""
    loss = ALGOS["mlegan"].generator_loss
    for seed in range(20):
        p_data, l = random_pair(seed)  # noqa: E741
        p_g = torch.softmax(l.detach(), 0)
        value = expectation(lambda v: loss(v, math.inf), (p_data / p_g).log(), p_g)
        torch.testing.assert_close(value, torch.tensor(-1.0, dtype=torch.float64))
    d_fake = torch.tensor([-1000.0, -2.0, 2.9, 3.1, 1000.0], requires_grad=True)
    weight = -5 * gradient(loss(d_fake, 3.0), d_fake)
    torch.testing.assert_close(weight, d_fake.detach().clamp(max=3).exp())


def test_a_missing_mode_costs_maximum_likelihood_infinity_and_the_guarded_loss_only_c_plus_2():
    """Per mass: G descends sum p_data phi(r), r = p_g / p_data, phi'(r) its loss at D* = -log r; phi(0) - phi(1)."""
    r = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
    loss = ALGOS["mlegan"].generator_loss
    for c in (0.0, 1.0, 3.0):
        assert -loss(-r.log(), c).item() == pytest.approx(c + 2, rel=1e-3)  # a mean over r, so an integral
    assert -loss(-r.log(), math.inf) > 14  # log n and more, without end
