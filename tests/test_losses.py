"""Each loss against its closed form, and against the divergence it descends when D is optimal."""

import inspect
import math
import re
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ALGOS, generator_loss

from scripts.lib.stage import each, js, kl
from scripts.pathologies.exact_losses import EXACT, WITHOUT, gradients, inverse_softplus, random_pair

STEEP = {"lsgan", "mlegan"}  # losses whose slope in D's output may exceed 1


def discriminator_losses(module):
    """[(loss(real, fake), sign)]: of D, or of D1 and D2; sign 1 if high output means real, -1 if low does."""
    if hasattr(module, "discriminator1_loss"):
        return [(module.discriminator1_loss, 1), (module.discriminator2_loss, -1)]
    if "k" in inspect.signature(module.discriminator_loss).parameters:
        return [(lambda real, fake: module.discriminator_loss(real, fake, torch.tensor(0.5)), -1)]
    one, two = (module.discriminator_loss, 1), (lambda real, fake: module.discriminator_loss(fake, real), -1)
    return [one, two] if "d2_fake" in inspect.signature(module.generator_loss).parameters else [one]


def generator_losses(module):
    """[loss(real, fake)]: G's; none where it is not a loss of D's outputs d_real, d_fake, but of features."""
    parameters = inspect.signature(module.generator_loss).parameters.values()
    required = [p.name for p in parameters if p.default is p.empty]
    return [partial(generator_loss, module)] if all(re.match(r"d\d?_", name) for name in required) else []


def pairs(count=20):
    """`count` random categorical distributions p_data and p_g, [K] each, in float64."""
    for seed in range(count):
        p_data, theta = random_pair(seed)
        yield p_data, torch.softmax(theta.detach(), 0)


def gradient(value, of):
    return torch.autograd.grad(value, of)[0]


# Of all files


def test_every_loss_that_is_not_nsgans_has_a_test():
    """A test below, or in the file's own test file, has to name both; all but nsgan.py's are told by their text."""
    reference = {f: inspect.getsource(x) for f, x in vars(ALGOS["nsgan"]).items() if f.endswith("_loss")}
    here = Path(__file__).read_text().partition("\n# Of single files\n")[2]
    for name, module in ALGOS.items():
        own = Path(__file__).with_name(f"test_{name}.py")
        for loss, function in vars(module).items():
            if loss.endswith("_loss") and inspect.getsource(function) != reference.get(loss):
                tested = f'"{name}"' in here or own.exists() and loss in own.read_text()
                assert tested, f"{loss} of {name}.py has no test of its closed form: here, or in {own.name}"


def test_every_file_has_a_divergence_or_a_reason():
    """BEGAN holds the ratio of D's errors, whatever p_g; the unrolled loss is no loss of a D that stands still."""
    rows = {re.split(r"\W", row.file)[0] for row in EXACT}
    assert rows | WITHOUT == set(ALGOS) and not rows & WITHOUT, (
        f"{(rows | WITHOUT) ^ set(ALGOS)}: scripts/pathologies/exact_losses.py needs a row of EXACT for each file, or "
        "its name in WITHOUT and the reason in the text"
    )


@pytest.mark.parametrize("row", EXACT, ids=[row.file for row in EXACT])
def test_generator_descends_its_divergence(row):
    """With D at its optimum and held there, G's gradient is that of a divergence between p_data and p_g."""
    for seed in range(20):
        followed, wanted = gradients(row, *random_pair(seed))
        assert wanted.abs().max() > 1e-7
        torch.testing.assert_close(followed, wanted, atol=1e-12 if row.packs == 1 else 1e-9, rtol=1e-8)


@pytest.mark.parametrize("name", ALGOS)
def test_losses_are_stable_at_extreme_outputs(name):
    """Finite values and gradients at +-1000, and the mean over the batch, not the sum."""
    module = ALGOS[name]
    for real, fake in [(1000.0, -1000.0), (-1000.0, 1000.0)]:
        for loss in [*(loss for loss, _ in discriminator_losses(module)), *generator_losses(module)]:
            values = []
            for n in (1, 64):
                outputs = [torch.full((n,), x, requires_grad=True) for x in (real, fake)]
                value = loss(*outputs)
                assert value.isfinite() and value.shape == ()
                slopes = torch.autograd.grad(value, outputs, allow_unused=True)
                slopes = [slope for slope in slopes if slope is not None]
                assert all(slope.isfinite().all() for slope in slopes)
                steepest = max(slope.sum().abs() for slope in slopes)
                assert name in STEEP or steepest <= 1.0001, f"slope {steepest}; if {name}.py's paper says so, see STEEP"
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
    for loss in generator_losses(ALGOS[name]):
        fakes = outputs if len(signs) == 2 else outputs[1:]  # of D1 and D2, or of D after d_real
        slopes = torch.autograd.grad(loss(*outputs), fakes)
        assert all((sign * slope < 0).all() for sign, slope in zip(signs, slopes, strict=True))


# Of single files


def test_cross_entropy_and_the_log_density_ratio():
    """nsgan.py's discriminator_loss, which most files have: no smoothed labels, and the optimum of the theory.

    Goodfellow et al. 2014, proposition 1: D* = p_data / (p_data + p_g), so its logit is log p_data / p_g.
    """
    loss = ALGOS["nsgan"].discriminator_loss
    d_real, d_fake = torch.tensor([0.3, -2.0]), torch.tensor([1.5, 0.0, -4.0])
    expected = F.binary_cross_entropy_with_logits(d_real, torch.ones(2))
    expected += F.binary_cross_entropy_with_logits(d_fake, torch.zeros(3))
    torch.testing.assert_close(loss(d_real, d_fake), expected)
    for p_data, p_g in pairs():
        d = (p_data / p_g).log().requires_grad_()
        zero = torch.zeros_like(d)
        value = p_data @ each(loss, d, zero) + p_g @ each(loss, zero, d)
        assert gradient(value, d).abs().max() < 1e-12
        # theorem 1: the value of the game is -log 4 + 2 JS, and each loss(zero) above adds log 2
        torch.testing.assert_close(-(value.detach() - math.log(4)), -math.log(4) + 2 * js(p_data, p_g))


def test_pairs_are_two_independent_samples():
    """PacGAN's row is of p(x) p(y) and q(x) q(y), all pairs, not of p and q again."""
    row = next(row for row in EXACT if row.packs == 2)
    p, theta = random_pair(4)
    q = torch.softmax(theta, 0)
    both = [(p[i] * p[j], q[i] * q[j]) for i in range(len(p)) for j in range(len(p))]
    p2, q2 = (torch.stack(x) for x in zip(*both, strict=True))
    expected = gradient(2 * kl((p2 + q2) / 2, p2), theta)
    torch.testing.assert_close(gradients(row, p, theta)[0], expected, atol=1e-9, rtol=1e-6)


def test_minimax_loss_saturates_and_the_non_saturating_one_does_not():
    """Values: log(1 - s(D(G))) for minimax, -log s(D(G)) else. Slopes: -s(D(G)), and s(D(G)) - 1.

    From -40 to -300 the sigmoid is 0 in float32: its log, or BCELoss, has lost the slope -1 there.
    """
    d_fake = torch.tensor([-300.0, -110.0, -40.0, -5.0, 0.0, 5.0], requires_grad=True)
    s = torch.sigmoid(d_fake.double())
    for name, value, slope in [("gan", (1 - s).log(), -s), ("nsgan", -F.logsigmoid(d_fake.double()), s - 1)]:
        loss = ALGOS[name].generator_loss(d_fake)
        torch.testing.assert_close(loss.double(), value.mean())
        torch.testing.assert_close(6 * gradient(loss, d_fake).double(), slope, atol=1e-6, rtol=1e-5)


def test_cross_entropy_has_its_slope_however_wrong_d_is():
    """s(D) - 1 at real samples and s(D) at generated ones. BCELoss of a sigmoid has lost it where D is surely wrong."""
    d, zero = (
        torch.tensor([-300.0, -110.0, -40.0, -5.0, 0.0, 5.0, 40.0, 110.0, 300.0], requires_grad=True),
        torch.zeros(1),
    )
    s, loss = torch.sigmoid(d.detach().double()), ALGOS["nsgan"].discriminator_loss
    for value, slope in [(loss(d, zero), s - 1), (loss(zero, d), s)]:
        torch.testing.assert_close(9 * gradient(value, d).double(), slope, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["wgan", "wgan_gp"])
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


def test_least_squares_losses_by_hand():
    """Without the factor 1/2, as the file says: D's is (0 + 4) / 2 + (1 + 9) / 2, G's (4 + 4) / 2."""
    module, d_real, d_fake = ALGOS["lsgan"], torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 3.0])
    assert module.discriminator_loss(d_real, d_fake).item() == 7 and module.generator_loss(d_fake).item() == 4


def test_least_squares_discriminator_is_optimal_at_the_weighted_codes():
    """Mao et al. 2017, equation 5: D* = (b p_data + a p_g) / (p_data + p_g), whatever the codes a, b."""
    loss = ALGOS["lsgan"].discriminator_loss
    codes = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    for (p_data, p_g), (a, b) in zip(pairs(), codes, strict=True):
        d = ((b * p_data + a * p_g) / (p_data + p_g)).requires_grad_()
        real = p_data @ each(partial(loss, a=a, b=b), d, torch.full_like(d, a))
        fake = p_g @ each(partial(loss, a=a, b=b), torch.full_like(d, b), d)
        assert gradient(real + fake, d).abs().max() < 1e-12


def test_least_squares_value_is_pearson_chi_square_for_the_codes_minus_1_1_0():
    """Mao et al. 2017, equation 8: with b - c = 1 and b - a = 2 the value at D* is chi2(p_data + p_g || 2 p_g).

    The value, and not what training follows, where D stays as it is: near the optimum G's gradient then is of
    second order and points away from chi-square's as often as not. That of the 0-1 codes has its direction.
    """
    loss, found = ALGOS["lsgan"].generator_loss, {0.0: [], 1.0: []}  # by c: cosine, ratio of the norms
    for seed, (p_data, p_g) in enumerate(pairs(200)):
        d = (p_data - p_g) / (p_data + p_g)
        value = (p_data + p_g) @ each(partial(loss, c=0.0), d)
        torch.testing.assert_close(value, ((2 * p_g - (p_data + p_g)).square() / (p_data + p_g)).sum())

        noise = torch.randn(p_g.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        theta = (p_data.log() + 0.01 * noise).requires_grad_()
        p_g = torch.softmax(theta, 0)
        wanted = gradient(((p_g - p_data).square() / (p_data + p_g)).sum(), theta)
        for c, d in [(0.0, (p_data - p_g) / (p_data + p_g)), (1.0, p_data / (p_data + p_g))]:
            followed = gradient(torch.softmax(theta, 0) @ each(partial(loss, c=c), d.detach()), theta)
            cosine = F.cosine_similarity(followed, wanted, dim=0).item()
            found[c].append((cosine, (followed.norm() / wanted.norm()).item()))
    away = [cosine < 0 for cosine, _ in found[0.0]]
    assert 0.4 < sum(away) / 200 and max(ratio for _, ratio in found[0.0]) < 0.05
    assert min(cosine for cosine, _ in found[1.0]) > 0.99 and min(ratio for _, ratio in found[1.0]) > 0.2


def test_two_discriminators_of_d2gan_are_optimal_at_the_density_ratios():
    """Nguyen et al. 2017, proposition 1 and theorem 2: D1* = alpha p_data / p_g, D2* = beta p_g / p_data."""
    module, alpha, beta = ALGOS["d2gan"], 0.2, 0.1
    for p_data, p_g in pairs():
        d1 = inverse_softplus(alpha * p_data / p_g).requires_grad_()
        d2 = inverse_softplus(beta * p_g / p_data).requires_grad_()
        real = each(partial(module.discriminator1_loss, alpha=alpha), d1, d1) - F.softplus(d1)
        fake = each(partial(module.discriminator2_loss, beta=beta), d2, d2) - F.softplus(d2)
        d1_loss = p_data @ real + p_g @ F.softplus(d1)
        d2_loss = p_g @ fake + p_data @ F.softplus(d2)
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


def test_dual_generator_loss_is_that_of_one_discriminator():
    """Where D2 = 1 - D1, -log D1 + log D2 is -logit of D1: the two discriminators act as one."""
    d = torch.linspace(-30, 30, 13, dtype=torch.float64)
    torch.testing.assert_close(ALGOS["dual_d_selu"].generator_loss(d, -d), -d.mean())


def test_maximum_likelihood_value_says_nothing_and_the_guard_bounds_the_weight():
    """E exp(logit*) = 1 always; above max_logit the slope, a sample's weight, stays exp(max_logit)."""
    loss = ALGOS["mlegan"].generator_loss
    for p_data, p_g in pairs():
        value = p_g @ each(partial(loss, max_logit=math.inf), (p_data / p_g).log())
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
