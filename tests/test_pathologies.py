"""The demonstrations show what the theory says: closed forms, eigenvalues, exact growth, oracles of other kinds."""

import ast
import contextlib
import copy
import functools
import importlib
import io
import itertools
import math
import re

import pytest
import torch
from conftest import FILES, ROOT, script
from PIL import Image
from scipy import integrate, stats

from algos import nsgan, wgan
from scripts.lib import stage, variants
from scripts.lib.stage import BLUE, GREEN, RED, js, kl, normal, ring, w1, write
from scripts.lib.tables import is_number, table
from scripts.pathologies import (
    collapse_to_a_point,
    dirac,
    divergences,
    errors_in_print,
    exact_losses,
    gradient_norm,
    improving_gan_training,
    local_equilibrium,
    loss_theorems,
    minimax_or_maximin,
    oscillation,
    packing,
    regret,
    selu,
    vanishing_gradient,
)

PAGES = ROOT / "results" / "pathologies"
NAMES = sorted(file.stem for file in (ROOT / "scripts" / "pathologies").glob("*.py"))
SLOW = [(dirac, "flow"), (minimax_or_maximin, "order_of_play")]


@pytest.fixture(scope="module", autouse=True)
def once():
    """What is slow is calculated once, for the page and for the tests of its numbers."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in SLOW:
            patch.setattr(module, name, functools.cache(getattr(module, name)))
        yield


def float64(*values):
    return torch.tensor(values, dtype=torch.float64)


# divergences


def test_divergences_of_categorical_distributions():
    p, q = (torch.softmax(x, 0) for x in torch.randn(2, 7, generator=torch.Generator().manual_seed(0)).double())
    expected = torch.distributions.kl_divergence(*(torch.distributions.Categorical(x) for x in (p, q)))
    torch.testing.assert_close(kl(p, q), expected)
    assert js(p, q).item() == pytest.approx(js(q, p).item())
    cells = torch.arange(7)
    assert w1(p, q).item() == pytest.approx(stats.wasserstein_distance(cells, cells, p, q))
    apart = float64(0.5, 0.5, 0, 0), float64(0, 0, 0.5, 0.5)
    assert js(*apart).item() == pytest.approx(math.log(2)) and kl(*apart) == math.inf
    assert w1(*apart).item() == pytest.approx(2)


def test_divergences_of_gaussians():
    """KL is mu^2 / 2 in both directions, W1 is mu; JS by adaptive quadrature, its slope by differences."""

    def quadrature(mu):
        def half(x, a, b):
            p, m = stats.norm.pdf(x, a), (stats.norm.pdf(x, a) + stats.norm.pdf(x, b)) / 2
            return p * math.log(p / m) / 2

        return integrate.quad(lambda x: half(x, 0, mu) + half(x, mu, 0), -12, mu + 12, epsabs=1e-12, limit=200)[0]

    for mu in (0.5, 1.0, 4.0, 8.0):
        found = {name: divergences.with_slope(function, mu) for name, (function, *_) in divergences.DIVERGENCES.items()}
        assert found["KL(p, q)"] == pytest.approx((mu**2 / 2, mu))
        assert found["KL(q, p)"] == pytest.approx((mu**2 / 2, mu))
        assert found["W1"] == pytest.approx((mu, 1), rel=1e-4)
        value, slope = found["JS"]
        assert value == pytest.approx(quadrature(mu), abs=1e-9) and value < math.log(2)
        assert slope == pytest.approx((quadrature(mu + 1e-3) - quadrature(mu - 1e-3)) / 2e-3, rel=1e-3)


def test_js_is_flat_far_away_and_w1_is_not():
    assert math.log(2) - divergences.with_slope(js, 10.0)[0] < 1e-5 and divergences.with_slope(js, 10.0)[1] < 1e-5


def test_kl_covers_both_modes_and_reverse_kl_takes_one():
    """The best Gaussian by KL(p, q) has p's moments, 0 and 17; by KL(q, p) one mode, at a charge of log 2."""
    p = (normal(-4.0) + normal(4.0)) / 2
    assert divergences.best_normal(kl, p) == pytest.approx((0, math.sqrt(17)), abs=1e-2)
    mean, sd = divergences.best_normal(divergences.DIVERGENCES["KL(q, p)"][0], p)
    assert (abs(mean), sd) == pytest.approx((4, 1), abs=2e-2)
    assert kl(normal(4.0), p).item() == pytest.approx(math.log(2), abs=1e-3)
    assert kl(p, normal(4.0)).item() > 10 * kl(p, normal(0.0, math.sqrt(17))).item()


# vanishing-gradient


def test_slope_of_each_loss_with_the_best_discriminator():
    """It is the slope of the loss's divergence: 2 JS, KL - 2 JS, LSGAN's f-divergence, W1, 2 TV, KL - JS of pairs.

    TV is 2 Phi(mu / 2) - 1. The pairs (x, G(z)) and (G(z), x) are N((0, mu), I) and N((mu, 0), I), 2^0.5 mu apart.
    """
    for mu in (0.5, 2.0, 6.0, 10.0):
        of_js = divergences.with_slope(js, mu)[1]
        of_least_squares = divergences.with_slope(exact_losses.least_squares, mu)[1]
        found = {name: vanishing_gradient.gaussian_slope(name, mu) for name in vanishing_gradient.OPTIMAL}
        assert found["minimax"] == pytest.approx(2 * of_js, rel=1e-6)
        assert found["non-saturating"] == pytest.approx(mu - 2 * of_js, rel=1e-6)
        assert found["least squares"] == pytest.approx(of_least_squares, rel=1e-4)
        assert found["WGAN-GP"] == pytest.approx(1)
        assert found["hinge"] == pytest.approx(2 * stats.norm.pdf(mu / 2), rel=1e-3)
        of_pairs = 2**0.5 * divergences.with_slope(js, 2**0.5 * mu)[1] if mu < 8 else 0.0  # JS is flat that far away
        assert found["paired"] == pytest.approx(mu - of_pairs, rel=1e-6)


def test_only_the_minimax_gradient_vanishes_as_the_discriminator_learns():
    """Measured at 15 and 300 updates, seeds 1 to 3: minimax 0.08 -> 0.001, the others 0.2 to 5 at 300."""
    norms = {name: vanishing_gradient.gradient_reaching_g(name, 1, [15, 300]) for name in vanishing_gradient.LEARNED}
    before, after = norms["minimax"]
    assert after < before / 20
    # with a bounded slope of D it stays where that slope puts it, and does not grow without end
    held = [(name, 0.4, 3.5) for name in ("WGAN-GP", "non-saturating, R1", "non-saturating, spectral norm")]
    for name, low, high in [("non-saturating", 2, 30), ("least squares", 0.1, 2), *held]:
        assert low < norms[name][1] < high, name
    assert 0.03 < norms["minimax, noise on D's inputs"][1] < 1


# selu


def test_the_units_are_all_that_differs():
    torch.manual_seed(3)
    x, starts = torch.randn(50, 2), []
    for name in selu.UNITS:
        torch.manual_seed(4)
        D = selu.discriminator(name)
        starts.append(torch.cat([p.flatten() for p in D.parameters()]))
        kinds = {type(layer) for layer in D.modules() if not isinstance(layer, torch.nn.Linear | torch.nn.Sequential)}
        assert kinds == {type(D), type(selu.UNITS[name][0])}
        assert D(x).shape == (50,)
    assert all(torch.equal(starts[0], start) for start in starts)


def test_fixed_point_of_selu():
    """Mean 0 and variance 1 by adaptive quadrature and by `moments`; layers lead there with SELU only."""
    unit = selu.UNITS["SELU"][0]
    for power, moment in ((1, 0), (2, 1)):
        f = lambda x, power=power: unit(float64(x)).item() ** power * stats.norm.pdf(x)  # noqa: E731
        assert integrate.quad(f, -12, 0)[0] + integrate.quad(f, 0, 12)[0] == pytest.approx(moment, abs=1e-6)
    assert selu.moments(unit, 1.0) == pytest.approx((0, 1), abs=1e-5)
    for start in (0.25, 4.0):
        assert selu.through_layers(unit, start, 30)[-1] == pytest.approx(1, abs=5e-3)
        for name, factor in (("ReLU", 0.5), ("leaky ReLU", 0.52)):
            assert selu.through_layers(selu.UNITS[name][0], start, 5)[-1] == pytest.approx(start * factor**5)
        assert selu.through_layers(selu.UNITS["tanh"][0], start, 30)[-1] < 0.03


def test_wide_layers_have_the_moments_of_the_theory():
    """Three layers of 2,000 units after inputs of E x^2 = 4, with the start of dual_d_selu.py."""
    torch.manual_seed(0)
    x = 2 * torch.randn(200, 2000)
    for second in selu.through_layers(selu.UNITS["SELU"][0], 4.0, 3)[1:]:
        x = selu.UNITS["SELU"][0](x @ torch.randn(2000, 2000) / 2000**0.5)
        assert x.square().mean().item() == pytest.approx(second, rel=0.05)


def test_the_gradient_vanishes_with_every_unit():
    """Measured at 5 and 400 updates, seed 1: 0.02 to 0.1, then 4e-4 to 3e-3."""
    for name in selu.UNITS:
        early, late = selu.learning(name, 1, [5, 400])
        assert late[0] < early[0] / 8 and late[2] == 1 and late[1] < 0.01 < 0.2 < early[1], name
    torch.manual_seed(0)  # the reason: the slope of softplus(D) is s(D) times that of D
    x = torch.randn(20, 2, requires_grad=True)
    d = selu.discriminator("SELU")(x) - 9
    loss, plain = (torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for y in (-nsgan.F.softplus(d), d))
    torch.testing.assert_close(loss, -torch.sigmoid(d)[:, None] * plain)


# oscillation


def test_growth_per_step_is_the_closed_form():
    for name, (step, factor, *_) in oscillation.METHODS.items():
        for lr in (0.05, 0.1, 0.3) if factor else ():
            distance = oscillation.play(step, 2000, lr).norm(dim=1)
            measured = (distance[2000] / distance[1000]).item() ** 1e-3
            assert measured == pytest.approx(factor(lr), abs=4e-4), f"{name}, lr {lr}"


def test_exact_identities_of_the_bilinear_game():
    lr = 0.1
    square = oscillation.play(oscillation.simultaneous, 500, lr).square().sum(1)
    torch.testing.assert_close(square, 2 * (1 + lr**2) ** torch.arange(501).double())  # exactly, in every step
    square = oscillation.play(oscillation.extragradient, 500, lr).square().sum(1)
    torch.testing.assert_close(square, 2 * (1 - lr**2 + lr**4) ** torch.arange(501).double())
    x, y = oscillation.play(oscillation.alternating, 500, lr).T
    ellipse = x**2 + y**2 + lr * x * y
    torch.testing.assert_close(ellipse, ellipse[:1].expand_as(ellipse))
    leader, plain = (
        oscillation.play(oscillation.follow_the_leader, 500, lr),
        oscillation.play(oscillation.simultaneous, 500, lr),
    )
    torch.testing.assert_close(leader, plain)


def test_unrolled_step_is_the_gradient_through_the_opponents_step():
    """V(x + lr y, y), with x one step ahead: not the slope at that x, which is x + lr y (facts of unrolled.py)."""
    x, y, lr = 0.7, -0.4, 0.1
    y0 = torch.tensor(y, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad((x + lr * y0) * y0, y0)
    moved = oscillation.look_ahead(oscillation.State(x, y, x, y, x, y, 1), lr)
    assert moved == pytest.approx((x + lr * y, y - lr * slope.item()))


def test_averages():
    assert torch.equal(oscillation.averages(torch.ones(5, 2)), torch.ones(5, 2))
    torch.testing.assert_close(oscillation.averages(float64([1, 0], [2, 3], [6, 6]))[-1], float64(3, 3))


def test_averaging_finds_the_equilibrium_only_if_rates_fall_as_the_root_or_steps_alternate():
    def mean(step):
        return oscillation.averages(oscillation.play(step, 10_000)).norm(dim=1)

    assert mean(oscillation.simultaneous)[10_000] > mean(oscillation.simultaneous)[1000] > 1
    falling = mean(oscillation.falling(oscillation.simultaneous))
    assert falling[10_000] < falling[1000] / 2 < falling[100] / 4
    assert (
        oscillation.play(oscillation.falling(oscillation.simultaneous), 10_000)[-1].norm() > 2**0.5
    )  # though the points leave
    assert mean(oscillation.alternating)[10_000] < 5e-3


# regret


def moves(game, how, rounds):
    """x, y, the averages of both and the regrets of both, [rounds] each."""
    x, y = regret.play(game, regret.METHODS[how][0], rounds)
    means = [z.cumsum(0) / torch.arange(1, rounds + 1) for z in (x, y)]
    return x, y, *means, *regret.regrets(game, x, y)


def test_games_have_their_values():
    """max min V = min max V = V*, over a grid of moves; the matrix game is x^T A y."""
    for game in regret.GAMES.values():
        grid = torch.linspace(game.low, game.high, 1001, dtype=torch.float64)
        v = game.v(grid[:, None], grid[None])
        assert v.min(1).values.max().item() == pytest.approx(game.value, abs=1e-9)
        assert v.max(0).values.min().item() == pytest.approx(game.value, abs=1e-9)
        torch.testing.assert_close(game.gap(grid[300:301], grid[800:801])[0], v[:, 800].max() - v[300].min())
    x, y, payoff = 0.3, 0.6, float64([2, -1], [-1, 1])
    assert regret.MATRIX.v(x, y) == pytest.approx((float64(x, 1 - x) @ payoff @ float64(y, 1 - y)).item())
    assert regret.MATRIX.gap(float64(0.4), float64(0.4)).item() == pytest.approx(0)


def test_averages_are_as_good_as_the_regrets():
    """(R1 + R2) / T is the averages' duality gap, and the regrets are those against every fixed move of a grid."""
    for game, how in itertools.product(regret.GAMES.values(), regret.METHODS):
        x, y, x_mean, y_mean, r1, r2 = moves(game, how, 500)
        gap = (r1 + r2) / torch.arange(1, 501)
        torch.testing.assert_close(gap, game.gap(x_mean, y_mean))
        assert (abs(game.v(x_mean, y_mean) - game.value) <= gap + 1e-12).all()
        fixed = torch.linspace(game.low, game.high, 21, dtype=torch.float64)[:, None]
        got = game.v(x, y).sum()
        assert r1[-1].item() == pytest.approx((game.v(fixed, y).sum(1).max() - got).item(), abs=1e-9)
        assert r2[-1].item() == pytest.approx((got - game.v(x, fixed).sum(1).min()).item(), abs=1e-9)


def test_regret_stays_below_its_bound_or_does_not_vanish():
    rounds = torch.arange(1, 10_001).double()
    for game in regret.GAMES.values():
        *_, r1, r2 = moves(game, "regularised leader, rate / sqrt(t)", 10_000)
        assert (torch.maximum(r1, r2) <= regret.bound(game, rounds)).all()
        *_, r1, r2 = moves(game, "regularised leader", 10_000)
        assert max(r1[-1], r2[-1]) / 10_000 < 0.01
    for how, least in (("best reply to the last move", 0.45), ("gradient steps", 0.15)):
        x, y, *_, r1, r2 = moves(regret.MATRIX, how, 10_000)
        assert least < (r1[-1] + r2[-1]) / 10_000 < 0.51
    assert regret.MATRIX.gap(x, y)[5000:].mean() > 1  # moves at a constant rate go on circling


def test_the_regularised_leader_is_the_best_move_and_lazy_gradient_steps():
    """It maximises sum V(., y_s) - |. - start|^2 / (2 rate), by brute force; inside the interval it is `gradient`."""
    for game, how in itertools.product(regret.GAMES.values(), [*regret.METHODS][2:]):
        x, y = moves(game, how, 300)[:2]
        grid = torch.linspace(game.low, game.high, 20_001, dtype=torch.float64)
        for t in (1, 10, 299):  # moves before the one of index t
            rate = regret.RATE / ((t + 1) ** 0.5 if "sqrt" in how else 1)
            goal = game.v(grid[:, None], y[None, :t]).sum(1) - (grid - game.start) ** 2 / (2 * rate)
            assert x[t].item() == pytest.approx(grid[goal.argmax()].item(), abs=1e-4)
    wide = regret.XY._replace(low=-1e9, high=1e9)
    lazy, steps = (moves(wide, how, 200)[0] for how in ("regularised leader", "gradient steps"))
    torch.testing.assert_close(lazy, steps)
    by_hand = oscillation.play(oscillation.simultaneous, 199)[:, 0] / 2  # it starts at (1, 1), not at (1/2, 1/2)
    torch.testing.assert_close(steps, by_hand)


# local-equilibrium


def test_collapse_is_a_local_equilibrium_where_a_and_b_start_at_one_mode():
    """Its price is JS of (1/2, 1/2) and (1, 0), 3/4 log(4/3); a small step in any direction is worse."""
    price = 0.75 * math.log(4 / 3)
    assert js(float64(0.5, 0.5), float64(1, 0)).item() == pytest.approx(price)
    for start, ends in [((0.5, -0.5), (4, -4)), ((-6, 0.5), (-4, 4)), ((5.5, 2.5), (4, 4)), ((-1, -5), (-4, -4))]:
        path = local_equilibrium.descend(start)
        collapsed = ends[0] == ends[1]
        assert path[-1].tolist() == pytest.approx(ends, abs=0.15)
        assert local_equilibrium.two_modes(path[-1]).item() == pytest.approx(price if collapsed else 0, abs=1e-4)
        curves = torch.linalg.eigvalsh(torch.autograd.functional.hessian(local_equilibrium.two_modes, path[-1]))
        assert curves[0] > 5e-4
    x = normal(4.0) + normal(-4.0)
    fisher = ((normal(4.01) - normal(3.99)) / 0.02).square().div(x).nan_to_num().sum() / 8  # JS is chi^2 / 8 nearby
    assert torch.autograd.functional.hessian(local_equilibrium.two_modes, float64(-4, 4))[0, 0] == pytest.approx(
        fisher.item(), rel=0.02
    )


def test_js_is_convex_in_the_probabilities_but_not_in_the_places():
    p, good = (normal(-4.0) + normal(4.0)) / 2, (normal(-4.0) + normal(4.0)) / 2
    both = [js(p, (1 - w) * normal(4.0) + w * good).item() for w in (0, 0.25, 0.5, 0.75, 1)]
    assert all(a > b for a, b in itertools.pairwise(both))  # mass can be moved from any start
    assert local_equilibrium.two_modes(float64(0, 0)) > 0.6  # the mean of two solutions, (4, -4) and (-4, 4)


def test_averages_of_weights_are_those_of_a_run_and_sharper():
    """A short run of r1.py, seed 1: sharp 0.10 to 0.45 at the end, 0.52 and more of the average."""
    rows = local_equilibrium.averaged(local_equilibrium.r1, 1, 1000, 200)
    last, ema, mean = zip(*[[s["high_quality"] for s in row] for row in rows], strict=True)
    assert sum(ema[2:]) > 1.3 * sum(last[2:]) and sum(ema[2:]) > 1.5 * sum(mean[2:])
    assert all(row[1]["coverage"] == 8 for row in rows[2:])


# collapse-to-a-point


def test_clumps():
    """Samples at two modes, 12 and 987 of 999: a tenth of the fair share is 12.5, so one counts."""
    modes = ring(0.3).modes
    x = torch.cat([modes[:1].repeat(12, 1), modes[3:4].repeat(987, 1)])
    found = collapse_to_a_point.clumps(x)
    assert found == {"modes": 1, "clump": pytest.approx(0, abs=1e-4), "far": pytest.approx(2)}
    x = torch.cat([x, modes[:1]])  # one more
    assert collapse_to_a_point.clumps(x)["modes"] == 2
    sides = modes[2] + torch.tensor([[0.1, 0.0], [-0.1, 0.0]])
    assert collapse_to_a_point.clumps(sides)["clump"] == pytest.approx(0.1)


def test_a_generator_against_a_frozen_discriminator_becomes_one_point_that_hops_when_it_learns_again():
    """Five updates of G to one of D: one point for ever, at many modes. One to one: all eight modes, as in a GAN."""
    torch.manual_seed(1)
    data, D, G = ring(0.3), collapse_to_a_point.hills(ring(0.3), 1000), nsgan.Generator(2, (2,), 64)
    start, middle, end = collapse_to_a_point.against_frozen(G, D, [0, 30, 400])
    assert end["modes"] == 1 and end["clump"] < 0.1 and 1.5 < end["far"] < 2.5  # on the ring: a maximum of D
    assert 0.001 < start["slope"] < 0.2 and end["slope"] < middle["slope"] / 5
    pair, z = copy.deepcopy((G, D)), torch.randn(200, 2)
    hops = torch.stack(collapse_to_a_point.gan_updates(G, D, data, 300, 5, z))
    share, main = torch.nn.functional.one_hot(torch.cdist(hops, data.modes).argmin(2), 8).double().mean(1).max(1)
    assert share[-25:].mean() > 0.8 and len(main[-25:].unique()) >= 4
    together = collapse_to_a_point.gan_updates(*pair, data, 800, 1, z)
    assert collapse_to_a_point.clumps(together[-1])["modes"] >= 6


# minimax-or-maximin


def test_both_orders_have_the_same_value():
    """max_D V(D, q) = 2 JS(p, q) - log 4 >= -log 4 >= min_q V(D, q), and both are reached."""
    logits = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0)).double()
    for d, q in zip(3 * logits[0], torch.softmax(2 * logits[1], 1), strict=True):
        best = minimax_or_maximin.value((minimax_or_maximin.P3 / q).log(), q).item()
        assert best == pytest.approx(2 * js(minimax_or_maximin.P3, q).item() - math.log(4))
        assert best > minimax_or_maximin.value(d, q).item()
        assert min(minimax_or_maximin.value(d, q).item() for q in torch.eye(3).double()) <= -math.log(4)
    assert minimax_or_maximin.value(torch.zeros(3).double(), minimax_or_maximin.P3).item() == pytest.approx(
        -math.log(4)
    )


def test_minimax_keeps_all_modes_and_maximin_one_at_a_time():
    path, _, end = minimax_or_maximin.order_of_play(0, 1, 400)
    assert end == pytest.approx(-math.log(4), abs=1e-3)
    assert minimax_or_maximin.effective_modes(path[-1]) > 2.99 and (path[1:].argmax(1) == path[0].argmax()).all()
    # the first step: dV / d theta = q (c - sum q c) with c = log(1 - D*) = log(q / (p + q)), of rate 0.1
    q, theta = path[0], torch.tensor([2.0, 0.5, 0.0]).double()
    c = (q / (minimax_or_maximin.P3 + q)).log()
    torch.testing.assert_close(path[1], torch.softmax(theta - 0.1 * q * (c - q @ c), 0))
    path, mean, end = minimax_or_maximin.order_of_play(1, 0, 400)
    assert end == pytest.approx(-math.log(4), abs=0.05)
    assert all(minimax_or_maximin.effective_modes(q) == 1 for q in path[1:])
    assert minimax_or_maximin.effective_modes(mean[-1]) > 2.99
    torch.testing.assert_close(mean[-1], path.mean(0))


# gradient-norm


def test_slope_of_a_discriminator_in_closed_form():
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    assert gradient_norm.slope(lambda x: x @ torch.tensor([3.0, -4.0]) + 1, x) == pytest.approx(5)
    root_mean_square = x.square().sum(1).mean().sqrt().item()
    assert gradient_norm.slope(lambda x: x.square().sum(1) / 2, x) == pytest.approx(root_mean_square)


def test_drops_that_follow_a_steep_discriminator_are_told_from_those_that_do_not():
    """larger() is the area under the ROC curve; drops count only after all eight modes were covered."""
    a, b = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)).double()
    u = stats.mannwhitneyu(a, b).statistic
    assert gradient_norm.larger(a, b) == pytest.approx(u / 2500) and gradient_norm.larger(a, a) == pytest.approx(0.5)
    coverage = float64(4, 3, 8, 8, 7, 8, 8, 6, 6)
    slopes = float64(9, 9, 1, 5, 2, 1, 6, 3, 3)  # before the drops 5 and 6; elsewhere 1, 2, 1, 3
    found = gradient_norm.drops(torch.stack([coverage, slopes, coverage, coverage], 1))
    assert found["drops"] == 2 and found["steeper"] == 1
    assert found["jump"] == 1 / 16  # changes 0.4 and 0.5, elsewhere 5, 0.5, 6, 1: one tie
    assert found["slope before drops"] == 5 and found["slope elsewhere"] == 1
    none = gradient_norm.drops(torch.stack([coverage, slopes, float64(*range(9)), coverage], 1))
    assert none["drops"] == 0 and math.isnan(none["steeper"]) and math.isnan(none["slope before drops"])


def test_slopes_of_runs_are_those_that_the_files_ask_for():
    """After 400 updates, of three seeds, dragan has 0.94 to 1.10 and r1 0.16 to 0.17; nsgan goes on to grow."""
    slopes = {}
    for module, steps in ((nsgan, 1600), (gradient_norm.dragan, 400), (gradient_norm.r1, 400)):
        rows = gradient_norm.watched(module, 41, steps // 4, steps=steps)
        assert rows[:, 0].tolist() == [steps // 4 * n for n in (1, 2, 3, 4)]
        slopes[module] = rows[-1, 1].item()
    assert slopes[gradient_norm.r1] < 0.4 < 0.6 < slopes[gradient_norm.dragan] < 1.4 < 2.5 < slopes[nsgan]


# dirac


def test_eigenvalues_at_the_equilibrium():
    for name, wanted in dirac.EIGENVALUES.items():
        found = sorted(dirac.eigenvalues(name).tolist(), key=lambda x: -x.imag)
        assert found == pytest.approx(sorted(wanted, key=lambda x: -complex(x).imag), abs=1e-6), name


def test_flows_of_the_smallest_gan():
    names = ("minimax", "Wasserstein", "non-saturating", "Wasserstein, clipped", "non-saturating + R1", "DRAGAN")
    distance = {name: dirac.flow(name, 60 if name[:3] == "non" else 20).norm(dim=1) for name in names}
    for name in ("minimax", "Wasserstein"):
        assert distance[name].sub(2**0.5).abs().max() < 1e-4
    # non-saturating: r dr/dt = -T tanh(T / 2), T = theta psi, near r^4 / 16 on average, so 1 / r^2 grows by t / 8
    inverse = distance["non-saturating"] ** -2
    assert (inverse[600] - inverse[200]).item() / 40 == pytest.approx(1 / 8, rel=0.05)
    assert distance["Wasserstein, clipped"][-100:].sub(dirac.CLIP).abs().max() < 5e-3
    rate = math.log(distance["non-saturating + R1"][600] / distance["non-saturating + R1"][200]) / 40
    assert rate == pytest.approx(-dirac.GAMMA / 2, rel=0.05)
    assert distance["DRAGAN"][-100:].min() > 0.5  # its penalty wants a slope of 1


def test_pairs_change_nothing_at_one_point_and_both_penalties_lead_in_without_a_turn():
    torch.testing.assert_close(dirac.flow("paired", 60), dirac.flow("non-saturating", 60))
    path = dirac.flow("paired + R1 + R2", 60)
    linear = float64([0, 1 / 2], [-1 / 2, -2 * dirac.GAMMA])  # each penalty is gamma / 2 psi^2
    torch.testing.assert_close(path[400], torch.matrix_exp(10 * linear) @ path[300], rtol=1e-4, atol=0)
    assert (path[50:, 0] > 0).all() and (path[50:, 1] < 0).all()


def test_wgan_gp_ends_on_a_cycle_or_beside_the_data(monkeypatch):
    """Half laps about (+-2 lambda, 0), each exp(-pi lambda / (1 - lambda^2)^0.5) as wide as the last."""
    lam = dirac.LAMBDA
    k = math.exp(-math.pi * lam / math.sqrt(1 - lam**2))
    theta = dirac.flow("WGAN-GP", 60)[400:, 0]
    assert theta.max().item() == pytest.approx(2 * lam * (1 + k) / (1 - k), rel=0.03)
    monkeypatch.setattr(dirac, "LAMBDA", 1.0)
    assert dirac.flow.__wrapped__("WGAN-GP", 30)[-1].tolist() == pytest.approx([2, 0], abs=1e-3)


# improving-gan-training


def test_eigenvalues_and_factors_of_the_techniques():
    at, past = float64(0.3, -0.4), float64(0.1, 0.2)
    for name, (_, closed, factor, _) in improving_gan_training.TECHNIQUES.items():
        found, rate = improving_gan_training.eigenvalues(name), improving_gan_training.RATE
        assert found == pytest.approx(list(closed), abs=1e-6), name
        in_xy = improving_gan_training.eigenvalues(name, wgan)
        assert max(abs(1 + rate * value) for value in in_xy) == pytest.approx(factor, abs=1e-6), name
    plain = improving_gan_training.field("nothing", at, past)
    torch.testing.assert_close(plain, dirac.field("non-saturating", at))
    torch.testing.assert_close(improving_gan_training.field("nothing", at, past, wgan), float64(-0.4, -0.3))  # V = xy
    for name in ("label smoothing", "minibatch discrimination"):
        torch.testing.assert_close(improving_gan_training.field(name, at, past), plain)


def test_noise_is_the_mean_over_its_draws():
    torch.manual_seed(0)
    theta, psi = 0.8, -1.5
    e = torch.randn(2, 400_000, dtype=torch.float64)
    d_slope = (e[0] * -torch.sigmoid(-psi * e[0]) + (theta + e[1]) * torch.sigmoid(psi * (theta + e[1]))).mean()
    g_slope = -psi * torch.sigmoid(-psi * (theta + e[1])).mean()
    found = improving_gan_training.field("noise", float64(theta, psi), float64(0, 0))
    torch.testing.assert_close(found, -torch.stack([g_slope, d_slope]), atol=0.01, rtol=0)


def test_paths_of_the_techniques():
    """Noise and penalty come in as exp(-t / 4), feature matching stops beside, historical averaging is a power of t."""
    for name in ("noise", "weight penalty"):
        distance = improving_gan_training.flow(name, 60).norm(dim=1)
        assert math.log(distance[600] / distance[200]) / 40 == pytest.approx(-0.25, rel=0.05), name
    end = improving_gan_training.flow("feature matching", 30)[-1]
    assert abs(end[0]) < 1e-9 and end[1] > 0.3


def test_historical_averaging_comes_in_as_a_power_of_the_time(monkeypatch):
    """By t^(-1 / (4 c^2 + 1)): the mean m of the past obeys t dm/dt = (2 c - A)^-1 A m, A's eigenvalues are +-i."""
    for c in (0.25, 1.0):
        monkeypatch.setattr(improving_gan_training, "PAST", c)
        distance = improving_gan_training.flow("historical averaging", 119, module=wgan).norm(dim=1)
        power = math.log(distance[-1] / distance[290]) / math.log(120 / 30)
        assert power == pytest.approx(-1 / (4 * c**2 + 1), rel=0.1, abs=0.03)


def test_best_d_of_smoothing_and_noise_is_where_the_slope_of_ds_loss_is_0():
    p, q = normal(-1.5, 0.7), normal(1.5, 0.7)
    smoothing = variants.module_of("runs/nsgan-smoothing.py").discriminator_loss
    logit = torch.logit(improving_gan_training.best_d("label smoothing", p, q)).requires_grad_()
    nothing = torch.zeros_like(logit)  # a mean over one output is that output's loss; the other side is constant
    loss = p @ stage.each(smoothing, logit, nothing) + q @ stage.each(smoothing, nothing, logit)
    (slope,) = torch.autograd.grad(loss, logit)
    assert slope.abs().max() < 1e-9
    wider = 0.7**2 + improving_gan_training.SD**2  # noise adds its variance
    spread = torch.sigmoid(-3 * stage.X / wider)
    near = stage.X.abs() < 5
    torch.testing.assert_close(improving_gan_training.best_d("noise", p, q)[near], spread[near], atol=1e-4, rtol=0)


def test_runs_on_the_ring_are_the_committed_ones():
    seeds = improving_gan_training.on_the_ring("stabilisers with noise")
    assert len(seeds) == 10 and all(coverage == 8 and 0.4 < sharp < 0.99 for coverage, sharp in seeds)
    assert len(improving_gan_training.on_the_ring("quick feature_matching")) == 20


# packing


def test_packed_total_variation_is_that_of_all_outcomes():
    for a, b, m in [(0.2, 0.0, 3), (0.5, 0.3, 4), (0.9, 0.35, 5)]:
        total = 0.0
        for outcome in itertools.product([True, False], repeat=m):
            p, q = (math.prod(x if below else 1 - x for below in outcome) for x in (a, b))
            total += abs(p - q) / 2
        assert packing.packed_tv(a, b, m) == pytest.approx(total)


def test_packing_separates_mode_dropping_from_mild_error():
    drops, mild = ((cut, cut * below) for cut, below, *_ in packing.TARGETS.values())
    assert packing.packed_tv(*drops, 1) == pytest.approx(0.2) and packing.packed_tv(*mild, 1) == pytest.approx(0.2)
    for m in range(2, 17):
        assert packing.packed_tv(*drops, m) == pytest.approx(1 - 0.8**m)  # the upper bound of all at 0.2
        assert packing.packed_tv(*mild, m) < packing.packed_tv(*drops, m)
        assert packing.packed_tv(*mild, m) >= packing.packed_tv(*mild, m - 1) - 1e-12


def test_a_packed_discriminator_learns_it():
    torch.manual_seed(0)
    for name, (cut, below, above, _) in packing.TARGETS.items():
        assert cut * below + (1 - cut) * above == pytest.approx(1)
        x = packing.draw(name, 100_000)
        assert (x < cut).float().mean().item() == pytest.approx(cut * below, abs=0.01)
        assert 0 <= x.min() and x.max() <= 1 and x[x > cut].mean().item() == pytest.approx((1 + cut) / 2, abs=0.01)
        exact = packing.packed_tv(cut, cut * below, 2)
        assert exact - 0.04 < packing.learned_tv(name, 2, steps=500) < exact + 0.01


# exact-losses (that each loss descends its divergence: test_losses.py)


def test_charges_add_up_to_the_divergence():
    """sum p phi(q / p) with the phi that is integrated from the loss itself, by the divergence in closed form."""
    for row in exact_losses.EXACT:
        for seed in range(12) if row.colour else ():
            p, theta = exact_losses.random_pair(seed)
            q = torch.softmax(theta.detach(), 0)
            charges = torch.where(q < p, p, q) * exact_losses.charge(row, q / p)
            assert (charges >= -1e-12).all(), row.file
            torch.testing.assert_close(charges.sum(), row.divergence(p, q), atol=1e-7, rtol=1e-5, msg=row.file)


def test_charge_for_a_missing_mode_and_for_a_bad_sample():
    by_file = {
        row.file: exact_losses.charge(row, float64(1e-3, 1e3)).tolist() for row in exact_losses.EXACT if row.colour
    }
    f = math.log(1e3) - 1 + 1e-3
    assert by_file["mlegan"] == pytest.approx([f, 1 - 1e-3 * (1 + math.log(1e3))], rel=1e-6)
    assert by_file["dual_d_selu"] == pytest.approx(by_file["mlegan"][::-1], rel=1e-6)
    assert by_file["gan"][0] == pytest.approx(by_file["gan"][1])  # JS is even
    assert by_file["nsgan"][0] < 0.31 < 5 < by_file["nsgan"][1]  # 1 - log 2 at most for a missing mode
    assert by_file["d2gan, 0.2 and 0.1"][0] == pytest.approx(0.2 * f + 0.1 * by_file["dual_d_selu"][0], rel=1e-6)


# the commands


def rows_of(page):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]


def assert_is_the_committed_page(name, out, printed):
    """The numbers in out/<name>.md are printed and, but for rounding errors, the committed ones; curves are there."""
    page = (out / f"{name}.md").read_text()
    assert rows_of(printed) == rows_of(page) and f"wrote {out / name}.md and .png" in printed
    for ours, theirs in zip(rows_of(page), rows_of((PAGES / f"{name}.md").read_text()), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            if is_number(a) and a:
                assert float(a) == pytest.approx(float(b), rel=0.011, abs=1e-8)
            else:
                assert a == b
    image = Image.open(out / f"{name}.png").convert("RGB")
    assert image.size == Image.open(PAGES / f"{name}.png").size
    colours = {tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (RED, BLUE, GREEN)}
    pixels = {colour for _, colour in image.getcolors(1 << 24)}
    assert len(colours & pixels) >= (1 if name == "minimax-or-maximin" else 2)
    assert {file.name for file in out.iterdir()} == {f"{name}.md", f"{name}.png"}


@pytest.mark.parametrize(
    "module", [oscillation, minimax_or_maximin, dirac, exact_losses, loss_theorems, errors_in_print, regret]
)
def test_demonstration_makes_the_committed_numbers_again(module, tmp_path):
    """Those that train nothing, or next to nothing."""
    name = module.__name__.rpartition(".")[2]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        write(getattr(module, name), module.__doc__, tmp_path)
    assert_is_the_committed_page(name.replace("_", "-"), tmp_path, printed.getvalue())


def test_command_makes_the_committed_numbers_again_from_any_folder(tmp_path):
    out = tmp_path / "out"
    done = script(ROOT / "scripts" / "pathologies" / "divergences.py", "--out", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_is_the_committed_page("divergences", out, done.stdout)


def test_table_is_markdown():
    lines = table(["a", "b", "c"], [["x", 0.123456, "1.50"], ["longer", 12.0, ""]])
    assert lines == [
        "| a      |     b |    c |",
        "|--------|------:|-----:|",
        "| x      | 0.123 | 1.50 |",
        "| longer |    12 |      |",
        "",
    ]


def test_committed_pages_are_of_these_texts_and_the_index_lists_them():
    index, listed = (PAGES / "README.md").read_text().splitlines(), []
    assert {file.name for file in PAGES.iterdir()} == {
        "README.md",
        *(f"{name.replace('_', '-')}.{kind}" for name in NAMES for kind in ("md", "png")),
    }
    for command in NAMES:
        module, name = importlib.import_module(f"scripts.pathologies.{command}"), command.replace("_", "-")
        what, _, text = module.__doc__.strip().partition("\n\n")
        page = (PAGES / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n\n**{what}**\n\n![{name}]({name}.png)\n\n{text}\n\n| ")
        assert page.endswith(f" |\n\nMade by `python scripts/pathologies/{command}.py`.\n")
        assert (PAGES / f"{name}.png").exists()
        assert f"| [`{name}`]({name}.md) | {what} |" in index
        listed.append(f"| [`{name}`](results/pathologies/{name}.md) | {what} |")
    readme = [line for line in (ROOT / "README.md").read_text().splitlines() if "](results/pathologies/" in line[:60]]
    assert len(readme) >= 3 and {row for row in readme if row.startswith("| [`")} <= {*listed}
    assert sum(line.startswith("| [`") for line in index) == len(NAMES)


def test_every_header_names_the_demonstrations_that_motivate_its_file():
    for file in FILES:
        named = re.findall(r"python scripts/pathologies/(\w+)\.py", ast.get_docstring(ast.parse(file.read_text())))
        assert named and set(named) <= set(NAMES), f"algos/{file.name}"
