"""The energy distance of cramer.py: its closed forms, the published critic's flaw, and gradients that stay finite."""

import ast
import inspect
import math

import pytest
import torch
from conftest import ALGOS
from scipy.special import hyp1f1
from torch import nn

cramer, wgan_gp = ALGOS["cramer"], ALGOS["wgan_gp"]
NONE = torch.zeros(1, dtype=torch.float64)  # what the published critic has in the place of h(x')


def mean_norm(m, s, d):
    """E |Z| for Z ~ N(mu, s^2 I) in d dimensions, |mu| = m: the mean of a noncentral chi distribution."""
    scale = s * math.sqrt(2) * math.gamma((d + 1) / 2) / math.gamma(d / 2)
    return scale * hyp1f1(-0.5, d / 2, -(m**2) / (2 * s**2))


def losses(x, g, x2, g2):
    """D's loss, without its penalty, and G's, for h the identity, from independent samples [N, d]."""
    d_real, d_fake = cramer.critic(x, g2, x2), cramer.critic(g, g2, x2)
    return cramer.discriminator_loss(d_real, d_fake).item(), cramer.generator_loss(x, g, g2).item()


@pytest.mark.parametrize("d", [1, 2, 5])
def test_losses_are_the_energy_distance_of_normals(d):
    """x ~ N(0, I) and g ~ N(mu, I) or N(0, 9 I): differences of samples are normal, too, so each term is known."""
    generator = torch.Generator().manual_seed(0)
    x, x2, n, n2 = torch.randn(4, 400_000, d, generator=generator, dtype=torch.float64)
    for m, s in [(1.5, 1.0), (0.0, 3.0)]:
        shift = m * torch.eye(1, d, dtype=torch.float64)
        between, real = mean_norm(m, math.sqrt(1 + s**2), d), mean_norm(0, math.sqrt(2), d)
        fake = mean_norm(0, math.sqrt(2) * s, d)
        d_loss, g_loss = losses(x, shift + s * n, x2, shift + s * n2)
        assert -d_loss == pytest.approx(2 * between - real - fake, abs=0.02)
        assert g_loss == pytest.approx(2 * between - fake, abs=0.02)


def test_energy_distance_on_a_line_is_twice_the_squared_distance_of_the_distribution_functions():
    """Bellemare et al. 2017: in one dimension, and only there, it is 2 integral (F_x - F_g)^2, the Cramer distance.

    All pairs of the points 0, 1, 3 of the data and 0.5, 2 of G.
    """
    x, g = torch.tensor([0.0, 1.0, 3.0]).double()[:, None], torch.tensor([0.5, 2.0]).double()[:, None]
    d_real = cramer.critic(x[:, None], g, NONE) - cramer.critic(x[:, None], x, NONE).mean(1, keepdim=True)
    d_fake = cramer.critic(g[:, None], g, NONE) - cramer.critic(g[:, None], x, NONE).mean(1, keepdim=True)
    gaps = [(0.5, 1 / 3), (0.5, 1 / 3 - 1 / 2), (1.0, 2 / 3 - 1 / 2), (1.0, 2 / 3 - 1)]  # length, F_x - F_g
    expected = 2 * sum(length * gap**2 for length, gap in gaps)
    assert -cramer.discriminator_loss(d_real, d_fake).item() == pytest.approx(expected, abs=1e-5)


def test_published_critic_sees_no_difference_where_the_corrected_one_does():
    """G at the one point with h = 0, the data at -1 and 1: the published f is 0 everywhere, whatever the data are.

    So the scale of h has no slope. The corrected objective is 2 E|x| - E|x - x'| = 2 - 1.
    """
    x, x2 = (t.flatten()[:, None] for t in torch.meshgrid(*[torch.tensor([-1.0, 1.0]).double()] * 2, indexing="ij"))
    g = torch.zeros_like(x)
    found = {}
    for corrected in (False, True):
        scale = torch.ones(1, dtype=torch.float64, requires_grad=True)  # of h(y) = scale y: the only weight of D
        h_real = scale * x2 if corrected else torch.zeros_like(x2)
        d_real, d_fake = (cramer.critic(scale * y, scale * g, h_real) for y in (x, g))
        loss = cramer.discriminator_loss(d_real, d_fake)
        found[corrected] = loss.item(), torch.autograd.grad(loss, scale)[0].item()
    assert found[False] == pytest.approx((0, 0), abs=1e-6) and found[True] == pytest.approx((-1, -1), abs=1e-5)


def test_corrected_objective_is_zero_only_for_equal_distributions():
    """On three points of a line, all pairs: positive for 50 random p and q, and 0 for p = q."""
    h = torch.tensor([[0.0], [1.0], [2.5]]).double()
    table = torch.stack([cramer.distance(h, y) for y in h])
    for seed in range(50):
        p, q = torch.rand(2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(1)
        assert 2 * p @ table @ q - p @ table @ p - q @ table @ q > 1e-8


def test_gradients_of_a_batch_are_unbiased():
    """The paper's title: on average over all batches of one, G's gradient is that of the expected loss."""
    theta = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([0.0, 1.0, 4.0]).double()[:, None]

    def generated():
        return theta * torch.tensor([1.0, 2.0, -1.0]).double()[:, None]

    def of(i, j, k):
        g = generated()
        return torch.autograd.grad(cramer.generator_loss(x[i, None], g[j, None], g[k, None]), theta)[0]

    average = torch.stack([of(i, j, k) for i in range(3) for j in range(3) for k in range(3)]).mean()
    g = generated()
    between = cramer.distance(x[:, None], g).mean()
    expected = torch.autograd.grad(2 * between - cramer.distance(g[:, None], g).mean(), theta)[0]
    torch.testing.assert_close(average, expected)


def test_distance_and_its_gradients():
    a, b = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 4.0], [1.0, 1.0]])
    torch.testing.assert_close(cramer.distance(a, b), torch.tensor([5.0, 0.0]), atol=2e-6, rtol=0)
    h = [torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    for function in (cramer.critic, cramer.generator_loss):
        assert torch.autograd.gradcheck(function, h) and torch.autograd.gradgradcheck(function, h)


def test_equal_points_have_finite_gradients_of_both_orders():
    """h(x) = h(g') happens: of a network whose units are dead, or where G copies a sample. A bare root gives NaN."""
    h = torch.ones(4, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(cramer.critic(h, h, h.detach()).sum(), h, create_graph=True)
    assert slope.isfinite().all()
    assert torch.autograd.grad(slope.square().sum(), h)[0].isfinite().all()
    D = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8))
    nn.init.constant_(D[0].bias, -100.0)  # no unit is ever active: h is the same everywhere
    real, fake, h_fake = torch.randn(8, 2), torch.randn(8, 2), D(torch.randn(8, 2))
    gp = cramer.gradient_penalty(lambda y: cramer.critic(D(y), h_fake, torch.zeros_like(h_fake)), real, fake)
    gp.backward()
    assert gp.item() == 1.0 and all(p.grad is None or p.grad.isfinite().all() for p in D.parameters())


def test_penalty_is_that_of_wgan_gp():
    """Statement by statement, so that tests/test_gradient_penalty.py speaks of this one as well."""
    found = [ast.parse(inspect.getsource(module.gradient_penalty)).body[0] for module in (cramer, wgan_gp)]
    ours, theirs = ([ast.dump(statement) for statement in function.body[1:]] for function in found)
    assert ours == theirs and ast.dump(found[0].args) == ast.dump(found[1].args)


@pytest.mark.parametrize("corrected", [True, False])
def test_penalty_reaches_all_of_the_network(corrected):
    """d penalty / d weights by finite differences, through h(x_hat), h(g') and h(x'): public code cuts the first."""
    generator = torch.Generator().manual_seed(0)
    real, fake, other, real2 = torch.randn(4, 5, 2, generator=generator, dtype=torch.float64)
    weights = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in [(6, 2), (3, 6)]]

    def value(w1, w2):
        def h(y):
            return torch.tanh(y @ w1.T) @ w2.T

        anchors = h(other), h(real2) if corrected else torch.zeros(5, 3, dtype=torch.float64)
        torch.manual_seed(0)  # the same eps each time
        return cramer.gradient_penalty(lambda y: cramer.critic(h(y), *anchors), real, fake)

    assert torch.autograd.gradcheck(value, weights)


@pytest.mark.parametrize("which", ["corrected", "paper"])
def test_discriminator_learns_from_independent_samples(which, inside, monkeypatch):
    """x, x', g, g' are four batches; x' only in the corrected critic, in place of whose h(x') the published has 0."""
    local, seen, anchors = inside(cramer, width=8, critic=which), [], []
    critic = cramer.critic
    monkeypatch.setattr(cramer, "critic", lambda h, *others: anchors.append(others) or critic(h, *others))
    local["D"].register_forward_pre_hook(lambda D, words: seen.append(words[0].detach()))
    numbers = local["d_step"]()
    batches = 4 if which == "corrected" else 3
    assert len(seen) == batches + 1  # and x_hat
    assert all((a - b).abs().max() > 0.1 for i, a in enumerate(seen) for b in seen[:i])
    assert all(others is not None and others[0].requires_grad for others in anchors) and len(anchors) == 3
    assert all((others[1].abs().max() == 0) == (which == "paper") for others in anchors)
    expected = cramer.discriminator_loss(numbers["d_real"], numbers["d_fake"]) + local["args"].lambda_ * numbers["gp"]
    torch.testing.assert_close(numbers["d_loss"], expected)


def test_generator_learns_from_both_of_its_batches_and_not_through_the_real_one(inside):
    local = inside(cramer, width=8)
    args, weights = local["args"], [*local["G"].parameters()]

    def noise():
        return torch.randn(args.batch_size, args.z_dim)

    torch.manual_seed(0)
    fake, other = local["G"](noise()), local["G"](noise())
    h = local["D"](local["data"].sample(args.batch_size)), local["D"](fake), local["D"](other)
    expected = [*torch.autograd.grad(cramer.generator_loss(*h), weights)]
    torch.manual_seed(0)
    local["g_step"]()
    torch.testing.assert_close([p.grad for p in weights], expected)
    assert all(p.grad is None for p in local["D"].parameters())


@pytest.mark.parametrize("shape", [(2,), (3, 16, 16), (1, 32, 32)])
def test_network_maps_to_vectors(shape):
    D, x = cramer.Discriminator(shape, 8), torch.randn(4, *shape)
    assert D(x).shape == (4, 8 if len(shape) == 1 else 256)
    assert D.net[0].bias is not None and D.net[-1 if len(shape) == 1 else -2].bias is None
    torch.testing.assert_close(D(x)[:1], D(x[:1]), atol=1e-5, rtol=1e-5)
