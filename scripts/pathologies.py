"""How GAN training fails, and what remedies it: eight demonstrations, each seen in less than two minutes on one core.

    python scripts/pathologies.py vanishing-gradient   # one of them, or several
    python scripts/pathologies.py all

Each prints its numbers, and writes them with one figure to results/pathologies/NAME.md and NAME.png. The losses,
penalties and networks are those of algos/, imported; tests/test_pathologies.py holds the numbers against the theory.
Nothing is sampled (float64) but in vanishing-gradient, collapse-to-a-point and the dots of packing.
"""

import copy
import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import matplotlib
import numpy
import torch
import tyro
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from algos import d2gan, dragan, dual_d_selu, gan, lsgan, mlegan, nsgan, pacgan, unrolled, wgan, wgan_gp  # noqa: E402
from common.data import Points, load_data  # noqa: E402
from common.metrics import mode_statistics  # noqa: E402
from scripts.tables import table  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

ORANGE, BLUE, GREEN, RED, SKY, PINK = "#e69f00", "#0072b2", "#009e73", "#d55e00", "#56b4e9", "#cc79a7"
PURPLE, GREY = "#6a3d9a", "#777777"  # a loss and its divergence have one colour in all figures; else as they come
STYLE = {"font.size": 12, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
STYLE |= {"lines.linewidth": 2, "axes.titlesize": 12, "figure.dpi": 120}


def each(loss: Callable, *outputs: Tensor) -> Tensor:
    """The loss of each of the outputs [N] by itself, [N]: the losses in algos/ are means over a batch."""
    return torch.vmap(lambda *d: loss(*(x[None] for x in d)))(*outputs)


# Divergences of distributions p and q over the same cells, as probabilities [K] -------------------------------------


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p, q) = sum p log(p / q), in nats; often written KL(p || q)."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()


def js(p: Tensor, q: Tensor) -> Tensor:
    """The Jensen-Shannon divergence."""
    return (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2


def w1(p: Tensor, q: Tensor, step: float = 1.0) -> Tensor:
    """The 1-Wasserstein distance of distributions on a line of cells, each `step` from the next."""
    return (p - q).cumsum(0).abs().sum() * step


# divergences --------------------------------------------------------------------------------------------------------

STEP = 0.01
X = torch.arange(-25, 25 + STEP / 2, STEP, dtype=torch.float64)


def normal(mean: float | Tensor, sd: float | Tensor = 1.0) -> Tensor:
    """The probability that N(mean, sd^2) gives to each cell of the line X."""
    return (-(((X - mean) / sd) ** 2) / 2).exp() * STEP / (sd * math.sqrt(2 * math.pi))


DIVERGENCES = {  # name: (function, colour, line style)
    "KL(p, q)": (kl, PINK, "-"),
    "KL(q, p)": (lambda p, q: kl(q, p), SKY, "--"),
    "JS": (js, RED, "-."),
    "W1": (lambda p, q: w1(p, q, STEP), GREEN, ":"),
}


def with_slope(divergence: Callable, mu: float) -> tuple[float, float]:
    """divergence(N(0, 1), N(mu, 1)) and its derivative in mu."""
    mean = torch.tensor(mu, dtype=torch.float64, requires_grad=True)
    value = divergence(normal(0.0), normal(mean))
    return value.item(), torch.autograd.grad(value, mean)[0].item()


def best_normal(divergence: Callable, p: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the normal distribution q with the least divergence from p."""
    from scipy.optimize import minimize

    def objective(theta):
        return divergence(p, normal(theta[0], math.exp(theta[1]))).item()

    fits = [
        minimize(objective, [mean, math.log(sd)], method="Nelder-Mead", tol=1e-9)
        for mean in (0.5, 4.0)
        for sd in (1.0, 4.0)
    ]
    best = min(fits, key=lambda fit: fit.fun)
    return best.x[0], math.exp(best.x[1])


def divergences(figure: Figure) -> list[str]:
    """Far from the data JS is flat at log 2 and W1 is not; KL(p, q) spreads q over all modes, KL(q, p) picks one.

    Above: the divergence of q = N(mu, 1) from the data p = N(0, 1), and its slope in mu, all the gradient that a
    generator which descends it would get. Both KL are mu^2 / 2 here. The slope of JS vanishes: a generator far
    from the data learns nothing (the vanishing gradient). Below: the normal distribution that is best by each
    divergence for data with two modes. KL(p, q) pays where p has mass and q has none, and so covers both modes and
    all between; KL(q, p) pays where q has mass and p has none, and so drops a mode for no more than log 2.
    """
    mus = torch.linspace(0.05, 10, 60).tolist()
    two_modes = (normal(-4.0) + normal(4.0)) / 2
    figure.set_size_inches(9, 7)
    values, slopes, fits = figure.subplot_mosaic("ab;cc").values()
    rows, charges = [], []
    fits.fill_between(X, two_modes / STEP, color="#dddddd", label="p, the data")
    for name, (divergence, colour, style) in DIVERGENCES.items():
        curve = [with_slope(divergence, mu) for mu in mus]
        values.plot(mus, [value for value, _ in curve], style, color=colour, label=name)
        slopes.plot(mus, [slope for _, slope in curve], style, color=colour)
        rows.append([name, *(x for mu in (1.0, 2.0, 4.0, 8.0) for x in with_slope(divergence, mu))])
        mean, sd = (round(x, 2) for x in best_normal(divergence, two_modes))
        one_mode, all_between = (divergence(two_modes, q).item() for q in (normal(4.0), normal(0.0, math.sqrt(17))))
        charges.append([name, one_mode, all_between, abs(mean), sd])
        fits.plot(X, normal(mean, sd) / STEP, style, color=colour, label=f"best q by {name}")
    values.axhline(math.log(2), color=RED, linewidth=1, linestyle=":")
    values.set(xlabel="mean of q, mu", ylabel="divergence [nats]; W1 [units of x]", ylim=(0, 6), title="value")
    slopes.set(xlabel="mean of q, mu", ylabel="slope in mu", yscale="log", ylim=(1e-7, 30), title="gradient")
    fits.set(xlabel="x", ylabel="density", xlim=(-14, 14), title="one Gaussian for two modes")
    values.legend(loc="center right", bbox_to_anchor=(1, 0.45))
    fits.legend(loc="upper left")
    head = ["divergence", *(f"{what} at mu = {mu}" for mu in (1, 2, 4, 8) for what in ("value", "slope"))]
    head2 = ["p has modes at -4 and 4", "charge for q = N(4, 1): a mode is missing"]
    head2 += ["for q = N(0, 17): samples between the modes", "best q: abs(mean)", "best q: sd"]
    return table(head, rows) + table(head2, charges)


# vanishing-gradient -------------------------------------------------------------------------------------------------

CURVES = {  # name: (the file of its losses, standard deviation of noise on D's inputs, colour)
    "minimax": (gan, 0.0, RED),
    "non-saturating": (nsgan, 0.0, BLUE),
    "least squares": (lsgan, 0.0, ORANGE),
    "WGAN-GP": (wgan_gp, 0.0, GREEN),
    "minimax, noise on D's inputs": (gan, 1.0, GREY),
}
OPTIMAL = {  # name: D's best output at x for data N(0, 1), samples N(mu, 1), from log p_data(x) / p_g(x) and x
    "minimax": lambda logit, x: logit,
    "non-saturating": lambda logit, x: logit,
    "least squares": lambda logit, x: torch.sigmoid(logit),
    "WGAN-GP": lambda logit, x: -x,
}


def ring(sd: float) -> Points:
    """The ring of algos/, with modes of this standard deviation."""
    return Points(load_data("ring").modes, sd)


def adam(module: nn.Module, lr: float = 1e-3) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=lr, betas=(0.5, 0.999))


def learn(opt: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of an optimiser down a loss, for its own parameters only."""
    opt.zero_grad()
    loss.backward(inputs=opt.param_groups[0]["params"])
    opt.step()


def gradient_reaching_g(name: str, seed: int, checks: list[int]) -> list[float]:
    """The norm of the gradient in the weights of a frozen G, after as many updates of D as `checks` says, rising.

    G is untrained and sits at (5, 0), 3 from the nearest mode of the ring.
    """
    torch.manual_seed(seed)
    module, noise, _ = CURVES[name]
    data, G, D = ring(0.02), nsgan.Generator(2, (2,), 64), nsgan.Discriminator((2,), 64)
    with torch.no_grad():
        G.net[-1].bias += torch.tensor([5.0, 0.0])
    d_opt, z_fixed, norms = adam(D), torch.randn(512, 2), []

    def noisy(x):
        return x + noise * torch.randn_like(x)

    for step in range(checks[-1] + 1):
        if step in checks:
            g_loss = module.generator_loss(D(noisy(G(z_fixed))))
            norms.append(nn.utils.get_total_norm(torch.autograd.grad(g_loss, [*G.parameters()])).item())
        real = data.sample(128)
        with torch.no_grad():
            fake = G(torch.randn(128, 2))
        d_loss = module.discriminator_loss(D(noisy(real)), D(noisy(fake)))
        if name == "WGAN-GP":
            d_loss = d_loss + 10 * wgan_gp.gradient_penalty(D, real, fake)
        learn(d_opt, d_loss)
    return norms


def gaussian_slope(name: str, mu: float) -> float:
    """The derivative of G's loss in mu, for data N(0, 1), samples N(mu, 1), and the best D, held fixed."""
    mean = torch.tensor(mu, dtype=torch.float64, requires_grad=True)
    d_fake = OPTIMAL[name](mu * (mu / 2 - X), X)
    value = (normal(mean) * each(CURVES[name][0].generator_loss, d_fake)).sum()
    return torch.autograd.grad(value, mean)[0].item()


def vanishing_gradient(figure: Figure) -> list[str]:
    """The better D is, the less the minimax loss tells G; the non-saturating and the Wasserstein loss keep telling.

    Left: D learns against a generator that stands still, away from the data: an untrained one at (5, 0), 3 from the
    nearest mode of the ring; three seeds and, thick, their median. With normal noise of sd 1 on D's inputs (Arjovsky &
    Bottou 2017, arXiv 1701.04862) the minimax loss keeps telling as far as the noise reaches, about these 3 sd; 10 sd
    away it vanishes again, as on the right.
    Right: data N(0, 1), samples N(mu, 1), for which the best D is known; the derivative of each loss in mu. The least
    squares loss vanishes there as minimax does: its slope at D = 0 is 2, but the best D itself is flat, and on the left
    it fades as D gets there: least squares postpones the vanishing gradient.
    """
    figure.set_size_inches(10, 4.6)
    left, right = figure.subplots(1, 2)
    rows, exact, mus, checks = [], [], torch.linspace(0.05, 10, 100).tolist(), [1, 5, 15, 50, 150, 500, 1500]
    for name, (*_, colour) in CURVES.items():
        runs = torch.tensor([gradient_reaching_g(name, seed, checks) for seed in (1, 2, 3)])
        left.plot(checks, runs.T, color=colour, linewidth=0.8, alpha=0.6)
        left.plot(checks, runs.median(0).values, color=colour, label=name)
        rows.append([name, *runs.median(0).values.tolist()])
        if name in OPTIMAL:
            right.plot(mus, [abs(gaussian_slope(name, mu)) for mu in mus], color=colour)
            exact.append([name, *(abs(gaussian_slope(name, mu)) for mu in (0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0))])
    left.set(xscale="log", yscale="log", ylim=(1e-6, 1e2), xlabel="updates of D", ylabel="norm of G's gradient")
    left.set_title("a D that learns, a G that does not")
    right.set(xlabel="distance of G from the data, mu [sd]", ylabel="|slope in mu|", title="the best D, exactly")
    right.set(yscale="log", ylim=(1e-6, 1e2))
    figure.legend(loc="outside lower center", ncols=3)
    return table(["norm of G's gradient after updates of D:", *map(str, checks)], rows) + table(
        ["slope in mu with the best D, at mu =", "0.5", "1", "2", "4", "6", "8", "10"], exact
    )


# oscillation --------------------------------------------------------------------------------------------------------


class State(NamedTuple):
    """Where the players x and y are, where they were a step ago, the sums of all their places, and the step, from 1."""

    x: float
    y: float
    x_last: float
    y_last: float
    x_sum: float
    y_sum: float
    t: int


def simultaneous(s: State, lr: float) -> tuple[float, float]:
    return s.x + lr * s.y, s.y - lr * s.x


def alternating(s: State, lr: float) -> tuple[float, float]:
    x = s.x + lr * s.y
    return x, s.y - lr * x


def follow_the_leader(s: State, lr: float) -> tuple[float, float]:
    """The best replies to all that was played, with |x - 1|^2 / (2 lr) and |y - 1|^2 / (2 lr) as regularisers."""
    return 1 + lr * s.y_sum, 1 - lr * s.x_sum


def extragradient(s: State, lr: float) -> tuple[float, float]:
    x, y = simultaneous(s, lr)  # look one step ahead, and take the slopes there
    return s.x + lr * y, s.y - lr * x


def optimistic(s: State, lr: float) -> tuple[float, float]:
    return s.x + lr * (2 * s.y - s.y_last), s.y - lr * (2 * s.x - s.x_last)


def weight_penalty(s: State, lr: float) -> tuple[float, float]:
    """x climbs V - 0.1 x^2, and y descends V + 0.1 y^2."""
    return s.x + lr * (s.y - 0.2 * s.x), s.y - lr * (s.x + 0.2 * s.y)


def look_ahead(s: State, lr: float) -> tuple[float, float]:
    """y descends V(x + lr y, y) = xy + lr y^2: what x's next step will make of it (unrolled.py with K = 1)."""
    return s.x + lr * s.y, s.y - lr * (s.x + 2 * lr * s.y)


def falling(method: Callable) -> Callable:
    return lambda s, lr: method(s, lr / s.t**0.5)


METHODS = {  # name: (the step to the new x and y, the distance's factor per step in closed form, colour, line style)
    "simultaneous": (simultaneous, lambda lr: (1 + lr**2) ** 0.5, RED, "-"),
    "follow the regularised leader": (follow_the_leader, lambda lr: (1 + lr**2) ** 0.5, ORANGE, "--"),
    "alternating": (alternating, lambda lr: 1.0, GREY, "-"),
    "simultaneous, rate / sqrt(t)": (falling(simultaneous), None, RED, ":"),
    "regularised leader, rate / sqrt(t)": (falling(follow_the_leader), None, ORANGE, ":"),
    "extragradient": (extragradient, lambda lr: (1 - lr**2 + lr**4) ** 0.5, GREEN, "-"),
    "optimistic": (optimistic, lambda lr: ((1 + (1 - 4 * lr**2) ** 0.5) / 2) ** 0.5, BLUE, "--"),
    "weight penalty 0.2": (weight_penalty, lambda lr: ((1 - 0.2 * lr) ** 2 + lr**2) ** 0.5, SKY, "-"),
    "unrolled, one step": (look_ahead, lambda lr: (1 - lr**2) ** 0.5, PURPLE, ":"),
}


def play(step: Callable, steps: int, lr: float = 0.1) -> Tensor:
    """The points (x, y) of the game V = xy, x climbing and y descending, from (1, 1), [steps + 1, 2]."""
    s, path = State(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1), [(1.0, 1.0)]
    for _ in range(steps):
        x, y = step(s, lr)
        s = State(x, y, s.x, s.y, s.x_sum + x, s.y_sum + y, s.t + 1)
        path.append((x, y))
    return torch.tensor(path, dtype=torch.float64)


def averages(path: Tensor) -> Tensor:
    """The mean of all points up to each, [N, 2]."""
    return path.cumsum(0) / torch.arange(1, len(path) + 1, dtype=path.dtype)[:, None]


def oscillation(figure: Figure) -> list[str]:
    """In the game V = xy gradient steps circle the equilibrium or leave it; looking ahead, or a penalty, leads in.

    x climbs V and y descends it, from (1, 1) with rate 0.1; the equilibrium is (0, 0). Simultaneous steps multiply the
    distance by (1 + 0.01)^0.5 each; alternating ones keep to an ellipse. "A solution can be found by averaging the
    iterates", as an article has it, under a condition: the average goes to (0, 0) if the steps alternate, or if their
    rate falls as 1 / sqrt(t); that of simultaneous steps of constant rate grows, too, in the end. To follow the
    regularised leader with a fixed regulariser is the same as simultaneous steps; with one that grows as sqrt(t) the
    points themselves come in, slowly and swinging. farthest: the largest distance in the second half of these steps.
    factor: by what a step multiplies the distance, measured over the last nine tenths, and in closed form.
    """
    figure.set_size_inches(10, 8.6)
    plain, remedied, now, mean = figure.subplots(2, 2).flat
    rows, steps = [], 10_000
    shown = torch.logspace(0, 4, 400).long().unique()  # of the steps, from 1
    for i, (name, (step, factor, colour, style)) in enumerate(METHODS.items()):
        path = play(step, steps)
        distance, average = path.norm(dim=1), averages(path).norm(dim=1)
        look = {"color": colour, "linewidth": 4, "alpha": 0.5} if style == "-" else {"color": colour}  # a broken line
        (plain if i < 3 else remedied).plot(*path[:300].T, style, **look, zorder=2 + (style != "-"))  # lies on top
        now.plot(shown, distance[shown - 1], style, **look, zorder=2 + (style != "-"), label=name)
        mean.plot(shown, average[shown - 1], style, **look, zorder=2 + (style != "-"))
        measured = (distance[steps] / distance[steps // 10]).item() ** (1 / (steps - steps // 10))
        at = [x for t in (100, 1000, steps) for x in (distance[t // 2 : t + 1].max().item(), average[t].item())]
        rows.append([name, *at, *([f"{measured:.5f}", f"{factor(0.1):.5f}"] if factor else ["", ""])])
    for axes, title in ((plain, "the first 300 steps: plain"), (remedied, "the first 300 steps: with a remedy")):
        axes.plot(0, 0, "k+", markersize=12)
        axes.set(xlabel="x", ylabel="y", aspect="equal", title=title)
    for axes, what in ((now, "now"), (mean, "of the average so far")):
        axes.set(xscale="log", yscale="log", xlim=(1, steps), ylim=(1e-5, 1e2), xlabel="step")
        axes.set_title(f"distance from (0, 0), {what}")
    figure.legend(loc="outside lower center", ncols=3)
    whens = [f"{what}, {t} steps" for t in (100, 1000, steps) for what in ("farthest", "average")]
    return table(["method", *whens, "factor", "closed form"], rows)


# collapse-to-a-point ------------------------------------------------------------------------------------------------


def gan_updates(
    G: nn.Module, D: nn.Module, data: Points, steps: int, g_steps: int = 1, z_fixed: Tensor | None = None
) -> list[Tensor]:
    """Updates of nsgan.py, one of D to g_steps of G. Returns the samples of z_fixed before every tenth."""
    g_opt, d_opt, trail = adam(G), adam(D), []
    for step in range(steps):
        if z_fixed is not None and step % 10 == 0:
            with torch.no_grad():
                trail.append(G(z_fixed))
        with torch.no_grad():
            fake = G(torch.randn(128, 2))
        learn(d_opt, nsgan.discriminator_loss(D(data.sample(128)), D(fake)))
        for _ in range(g_steps):
            learn(g_opt, nsgan.generator_loss(D(G(torch.randn(128, 2)))))
    return trail


def hills(data: Points, steps: int = 2000) -> nn.Module:
    """A discriminator of the data from uniform noise on [-3, 3]^2: it has a maximum at every mode."""
    D = nsgan.Discriminator((2,), 64)
    d_opt = adam(D)
    for _ in range(steps):
        learn(d_opt, nsgan.discriminator_loss(D(data.sample(128)), D(6 * torch.rand(128, 2) - 3)))
    return D


def against_frozen(G: nn.Module, D: nn.Module, checks: list[int]) -> list[dict[str, float]]:
    """What becomes of G's samples at `checks`, rising, while G learns and D does not. Distances in units of x.

    modes: that are nearest to a tenth of their fair share of samples, or more; clump: the mean distance of a sample
    from the centre of those of the same mode; far: from the origin; slope: the median norm of the gradient of a
    sample's loss in its z.
    """
    g_opt, z, rows = adam(G), torch.randn(1000, 2), []
    for step in range(checks[-1] + 1):
        if step in checks:
            z.requires_grad_()
            x = G(z)
            (slope,) = torch.autograd.grad(each(nsgan.generator_loss, D(x)).sum(), z)
            rows.append(clumps(x.detach()) | {"slope": slope.norm(dim=1).median().item()})
        learn(g_opt, nsgan.generator_loss(D(G(torch.randn(128, 2)))))
    return rows


def clumps(x: Tensor) -> dict[str, float]:
    """modes, clump and far, as `against_frozen` says, of samples [N, 2]."""
    mode = nn.functional.one_hot(torch.cdist(x, ring(0.3).modes).argmin(1), 8).float()  # [N, 8]
    centres = mode @ (mode.T @ x / mode.sum(0).clamp(min=1)[:, None])
    modes = mode_statistics(x, ring(0.3).modes, 0.3)["coverage"]
    return {"modes": modes, "clump": (x - centres).norm(dim=1).mean().item(), "far": x.norm(dim=1).mean().item()}


def collapse_to_a_point(figure: Figure) -> list[str]:
    """Against a D that stands still, G's samples climb to D's maxima: to one if G starts narrow, or out of the data.

    G learns while D does not (nsgan.py on a ring with sd 0.3; three seeds). Lecture notes say that all samples end at
    the one point that D likes best, and that the gradient in z goes to 0. It falls in all runs. One point is left where
    G starts narrow, within reach of one maximum, and else seldom: a G that has all eight modes keeps several narrow
    clumps, and the D of an ordinary training may rise beyond the data, where all samples then run.
    When D learns again, the point hops from mode to mode, throughout 1,500 updates, if G has five updates to each of
    D; with one, G recovers all eight.
    modes: nearest to a tenth of their fair share of 1,000 samples, or more; clump: the mean distance of a sample from
    the centre of those of its mode; far: from the origin; slope: the median of |d loss / d z|. In the first plot a
    dark place is one that D takes for real; it shows the first seed.
    """
    figure.set_size_inches(10, 8.6)
    land, slope, far, hop = figure.subplots(2, 2).flat
    axis, data, rows, pointed = torch.linspace(-3, 3, 121), ring(0.3), [], None
    checks = [0, 30, 100, 300, 1000, 2000]
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        new, G, own = nsgan.Generator(2, (2,), 64), nsgan.Generator(2, (2,), 64), nsgan.Discriminator((2,), 64)
        gan_updates(G, own, data, 1500)
        hilly = hills(data)
        cases = [("D with hills, untrained G", new, hilly, RED)]
        cases += [("D with hills, G with eight modes", copy.deepcopy(G), hilly, GREEN)]
        for name, learner, D, colour in [*cases, ("the D of G's own training", G, own, BLUE)]:
            states = against_frozen(learner, D, checks)
            for axes, what in ((slope, "slope"), (far, "far")):
                label = name if seed == 1 and axes is far else None
                axes.plot([c + 1 for c in checks], [s[what] for s in states], color=colour, label=label)
            rows.append([name, seed, *(x for s in (states[0], states[-1]) for x in s.values())])
            if seed == 1 and D is hilly:
                with torch.no_grad():
                    land.plot(*learner(torch.randn(500, 2)).T, ".", color=colour, markersize=5)
        pointed = pointed or copy.deepcopy((new, hilly))
    with torch.no_grad():
        heights = pointed[1](torch.cartesian_prod(axis, axis)).view(121, 121).T
    land.contourf(axis, axis, heights, levels=torch.linspace(-8, 2.5, 22), cmap="Greys", extend="both", zorder=0)
    land.set(xlabel="x1", ylabel="x2", aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
    land.set_title("D with hills, and where samples end")
    slope.set(xscale="log", yscale="log", xlabel="updates of G + 1", title="|d loss / d z|, median")
    far.set(xscale="log", yscale="log", xlabel="updates of G + 1", title="distance of samples from the origin")
    hops = []
    for g_steps, colour in ((1, SKY), (5, ORANGE)):
        G, D = copy.deepcopy(pointed)
        trail = torch.stack(gan_updates(G, D, data, 1500, g_steps, torch.randn(256, 2)))  # [150, 256, 2]
        angles = (torch.atan2(trail[..., 1], trail[..., 0]).rad2deg() + 22.5) % 360 - 22.5
        times = 10 * torch.arange(len(trail))[:, None].expand_as(angles)
        label = f"D learns again, {g_steps} of G : 1 of D"
        points = times[:, ::4].flatten(), angles[:, ::4].flatten()
        hop.plot(*points, ".", color=colour, markersize=3, alpha=0.5, label=label)
        share, main = nn.functional.one_hot(torch.cdist(trail, data.modes).argmin(2), 8).double().mean(1).max(1)
        alone = main[share > 0.5]
        jumps = (alone[1:] != alone[:-1]).sum().item()
        hops.append([label, jumps, share[-50:].mean().item(), clumps(trail[-1])["modes"]])
    hop.set(xlabel="updates of D", ylabel="angle of samples [degrees]", yticks=range(0, 316, 45))
    hop.set_title("when D learns again")
    figure.legend(loc="outside lower center", ncols=2, markerscale=4)
    head = ["case", "seed", *(f"{what}, {when}" for when in ("start", "end") for what in states[0])]
    head2 = ["", "hops, seen every 10 updates of D", "share of samples in one mode, last 500", "modes at the end"]
    return table(head, rows) + table(head2, hops)


# minimax-or-maximin -------------------------------------------------------------------------------------------------

P3 = torch.full((3,), 1 / 3, dtype=torch.float64)  # the data: three modes, equally likely


def value(d: Tensor, q: Tensor) -> Tensor:
    """V(D, G) = E log s(D(x)) + E log(1 - s(D(G(z)))), for D's logits d and G's probabilities q of the modes, [3]."""
    nothing = torch.zeros_like(d)  # the loss is a sum of one term for each side; a logit of 0 adds log 2
    real, fake = each(gan.discriminator_loss, d, nothing), each(gan.discriminator_loss, nothing, d)
    return 2 * math.log(2) - P3 @ real - q @ fake


def effective_modes(q: Tensor) -> float:
    """exp of the entropy of q: 3 if G draws all modes equally often, 1 if it draws but one."""
    return torch.special.entr(q).sum().exp().item()


def order_of_play(d_steps: int, g_steps: int, rounds: int) -> tuple[Tensor, Tensor, float]:
    """G's probabilities after each round, and their mean, [rounds + 1, 3] each; and V at the end.

    A round is d_steps of gradient ascent on V for D's logits, then g_steps of descent for the logits of G, of rate
    0.1. 0 for one of them stands for infinitely many: the best reply, in closed form.
    """
    d = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    l = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64, requires_grad=True)  # noqa: E741
    q, path = torch.softmax(l, 0), [torch.softmax(l.detach(), 0)]
    for _ in range(rounds):
        for _ in range(d_steps):
            (slope,) = torch.autograd.grad(value(d, q.detach()), d)
            d = (d + 0.1 * slope).detach().requires_grad_()
        if not d_steps:
            d = (P3 / q).log().detach()  # D* = p_data / (p_data + p_g)
        for _ in range(g_steps):
            (slope,) = torch.autograd.grad(value(d.detach(), torch.softmax(l, 0)), l)
            l = (l - 0.1 * slope).detach().requires_grad_()  # noqa: E741
        q = torch.softmax(l, 0) if g_steps else nn.functional.one_hot(d.argmax(), 3).double()  # all on D's favourite
        path.append(q.detach())
    path = torch.stack(path)
    return path, path.cumsum(0) / torch.arange(1, rounds + 2)[:, None], value(d, q).item()


def minimax_or_maximin(figure: Figure) -> list[str]:
    """Who answers whom decides whether G keeps all modes: minimax and maximin have one value, but not one generator.

    Three modes; D has a logit for each, G a probability. min_G max_D V, where D answers each G with its best, leads
    to q = p. In max_D min_G V, G answers each D: with all mass on the mode that D likes best, and jumps to the next
    as D learns. Both orders have the value -log 4, -1.386 (V is concave in D and linear in q); the last one stays a
    little below, by the size of D's steps. What differs is the generator.
    Gradient steps do not say which order they follow. Here they settle at q = p, but the more often G moves, the more
    its main mode jumps on the way. The G that always gives its best reply never settles: it has one mode at any time,
    and all of them on average.
    """
    figure.set_size_inches(10, 4.8)
    triangle, modes = figure.subplots(1, 2)
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]], dtype=torch.float64)
    triangle.fill(*corners.T, facecolor="none", edgecolor="black", linewidth=1)
    for corner, name, side in zip(corners, "123", ("right", "left", "center"), strict=True):
        away = {"xytext": (0, 10 if name == "3" else -10), "textcoords": "offset points"}
        triangle.annotate(f"mode {name}", corner, ha=side, va="bottom" if name == "3" else "top", **away)
    rounds, rows = 400, []
    orders = [("minimax: 1 step of G, D's best reply", 0, 1, RED), ("5 steps of D, 1 of G", 5, 1, ORANGE)]
    orders += [("1 step of D, 1 of G", 1, 1, GREY), ("1 step of D, 20 of G", 1, 20, SKY)]
    for name, d_steps, g_steps, colour in [*orders, ("maximin: 1 step of D, G's best reply", 1, 0, "black")]:
        path, mean, end = order_of_play(d_steps, g_steps, rounds)
        triangle.plot(*(path @ corners).T, "-" if g_steps else "o", color=colour, linewidth=1.5)
        effective = [effective_modes(q) for q in path]
        modes.plot(effective, color=colour, label=name)
        jumps = (path.argmax(1)[1:] != path.argmax(1)[:-1]).sum().item()
        rows.append([name, jumps, effective[-1], effective_modes(mean[-1]), f"{end:.3f}"])
    triangle.plot(*(P3 @ corners), "k+", markersize=12)
    triangle.set(aspect="equal")
    triangle.set_title("what G draws, from the dot inside (+: the data)", pad=30)
    triangle.axis("off")
    modes.set(xlabel="round", ylabel="modes that G draws, exp(entropy)", ylim=(0.9, 3.1), yticks=[1, 2, 3])
    figure.legend(loc="outside lower center", ncols=2)
    head = ["order of play", "jumps of G's main mode", "modes at the end", "modes of the average G", "V at the end"]
    return table(head, rows)


# dirac --------------------------------------------------------------------------------------------------------------

DT = 0.1  # time between two points of a path
GAMMA, CLIP, LAMBDA = 0.5, 0.5, 0.1  # of R1, with its factor 1/2; of clipping; of WGAN-GP
GAMES = {  # name: (the file of its losses, weight of the penalty, colour)
    "minimax": (gan, 0.0, RED),
    "non-saturating": (nsgan, 0.0, BLUE),
    "Wasserstein": (wgan, 0.0, GREEN),
    "Wasserstein, clipped": (wgan, 0.0, GREEN),
    "WGAN-GP": (wgan_gp, LAMBDA, GREEN),
    "non-saturating + R1": (nsgan, GAMMA / 2, PURPLE),
}
EIGENVALUES = {  # at (0, 0), of the field (d theta / dt, d psi / dt); of R1 -gamma / 2 +- (gamma^2 / 4 - 1 / 4)^0.5
    "minimax": (0.5j, -0.5j),
    "non-saturating": (0.5j, -0.5j),
    "Wasserstein": (1j, -1j),
    "Wasserstein, clipped": (1j, -1j),
    "non-saturating + R1": tuple(-GAMMA / 2 + sign * (GAMMA**2 / 4 - 1 / 4 + 0j) ** 0.5 for sign in (1, -1)),
}


def field(name: str, theta_psi: Tensor, k: float = 0.0) -> Tensor:
    """(d theta / dt, d psi / dt) at (theta, psi), [2], if each descends its loss: all data at 0, G's samples at theta.

    D(x) = psi x (Mescheder, Geiger & Nowozin 2018, arXiv 1801.04406). k: the slope that the penalty at the data wants.
    """
    module, weight, _ = GAMES[name]
    if not theta_psi.requires_grad:
        theta_psi = theta_psi.clone().requires_grad_()
    real, fake = torch.zeros(1, 1, dtype=theta_psi.dtype), theta_psi[:1, None]

    def D(x):
        return theta_psi[1] * x[:, 0]

    g_loss, d_loss = module.generator_loss(D(fake)), module.discriminator_loss(D(real), D(fake))
    if name == "WGAN-GP":
        d_loss = d_loss + weight * wgan_gp.gradient_penalty(D, real, fake)
    elif weight:
        d_loss = d_loss + weight * dragan.gradient_penalty(D, real, k)  # R1 is that of dragan.py at the data with k = 0
    g_slope, d_slope = (torch.autograd.grad(loss, theta_psi, create_graph=True)[0] for loss in (g_loss, d_loss))
    return -torch.stack([g_slope[0], d_slope[1]])


def flow(name: str, time: float, k: float = 0.0) -> Tensor:
    """The path from (1, 1) when both players move without pause, every DT: Runge-Kutta of order 4."""
    point, path, D = torch.ones(2, dtype=torch.float64), [], nn.Linear(1, 1, bias=False, dtype=torch.float64)
    for _ in range(round(time / DT) + 1):
        path.append(point)
        v1 = field(name, point, k).detach()
        v2 = field(name, point + DT / 2 * v1, k).detach()
        v3 = field(name, point + DT / 2 * v2, k).detach()
        v4 = field(name, point + DT * v3, k).detach()
        point = point + DT / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        if name == "Wasserstein, clipped":
            with torch.no_grad():
                D.weight.fill_(point[1])
                wgan.clip_weights(D, CLIP)
                point = torch.stack([point[0], D.weight[0, 0]])
    return torch.stack(path)


def eigenvalues(name: str) -> Tensor:
    """The two eigenvalues of the field's Jacobian at the equilibrium (0, 0)."""
    steps = 1e-4 * torch.eye(2, dtype=torch.float64)  # by differences: |psi| of the penalty has no second derivative
    jacobian = torch.stack([(field(name, step) - field(name, -step)).detach() / 2e-4 for step in steps], 1)
    return torch.linalg.eigvals(jacobian)


def dirac(figure: Figure) -> list[str]:
    """The smallest GAN circles its equilibrium, or nearly; of these games only the one with R1's penalty goes in fast.

    All data at 0, all samples at theta, D(x) = psi x, both players moving without pause (Mescheder, Geiger & Nowozin
    2018). Eigenvalues at (0, 0) without a real part: no linear force leads in. Minimax and Wasserstein keep their
    distance; the non-saturating loss comes in as 1 / sqrt(t), by a force of higher order. Clipping stops the critic at
    0.5 and circles inside. WGAN-GP's penalty (lambda 0.1 here) wants a slope of 1 where the equilibrium needs 0: it
    ends on a cycle, and from lambda = 1 on D cannot even turn: G is left 2 lambda from the data. R1 (gamma / 2 times
    the squared slope at the data; gamma 0.5) wants slope 0 there, and goes in; with the slope of 1 that dragan.py wants
    it does not. A real D has more than one slope: this is the local picture. Steps of a rate lr multiply the distance
    by |1 + lr eigenvalue|, which is more than 1 where the real part is 0.
    """
    figure.set_size_inches(10, 7.2)
    axis, rows = torch.linspace(-1.8, 1.8, 15, dtype=torch.float64), []
    for axes, (name, (*_, colour)) in zip(
        figure.subplots(2, 3, sharex=True, sharey=True).flat, GAMES.items(), strict=True
    ):
        grid = torch.stack([torch.stack([field(name, torch.stack([t, p])).detach() for t in axis]) for p in axis])
        speed = grid.norm(dim=2, keepdim=True)
        axes.quiver(axis, axis, *(grid / speed.clamp(min=1e-9)).permute(2, 0, 1), color="#999999", scale=22)
        path = flow(name, 60)
        axes.plot(*path.T, color=colour, linewidth=1.5)
        axes.plot(*path[0], "o", color=colour)
        axes.plot(0, 0, "k+", markersize=12)
        axes.set(aspect="equal", title=name, xlim=(-2, 2), ylim=(-2, 2))
        if "clipped" in name:
            axes.axhspan(-CLIP, CLIP, color="#eeeeee", zorder=0)
        distance = path.norm(dim=1)
        shown = ["none: a kink", ""]
        if name in EIGENVALUES:
            both = eigenvalues(name).tolist(), EIGENVALUES[name]
            shown = [
                ", ".join(f"{x.real + 0:.3f}{x.imag:+.3f}i" for x in sorted(e, key=lambda x: -x.imag)) for e in both
            ]
        rows.append([name, *shown, *(distance[round(t / DT)].item() for t in (0, 10, 30, 60))])
    figure.supxlabel("theta: where G's samples are (the data: 0)")
    figure.supylabel("psi: the slope of D")
    return table(
        ["game", "eigenvalues at (0, 0)", "closed form", *(f"distance at t = {t}" for t in (0, 10, 30, 60))], rows
    )


# packing ------------------------------------------------------------------------------------------------------------

TARGETS = {  # name: (share of the data below a cut, density of the samples below it, above it, colour); data: U[0, 1]
    "drops a mode": (0.2, 0.0, 1.25, RED),
    "a little wrong everywhere": (0.5, 0.6, 1.4, BLUE),
}


def packed_tv(a: float, b: float, m: int) -> float:
    """The total variation of m independent draws that fall below the cut with probability a, or b."""
    counts = (math.comb(m, k) * abs(a**k * (1 - a) ** (m - k) - b**k * (1 - b) ** (m - k)) for k in range(m + 1))
    return sum(counts) / 2


def draw(name: str | None, n: int) -> Tensor:
    """n samples of one of the TARGETS, or of the data if None, [n, 1]."""
    if name is None:
        return torch.rand(n, 1)
    cut, below, above, _ = TARGETS[name]
    u = torch.rand(n, 1)
    return torch.where(u < cut * below, u / max(below, 1e-9), cut + (u - cut * below) / above)


def learned_tv(name: str, m: int, steps: int = 1500) -> float:
    """2 accuracy - 1 of pacgan.py's discriminator on fresh packs of m: at most the total variation, but for chance."""
    torch.manual_seed(m)
    D = pacgan.Discriminator((m,), 64)
    d_opt = adam(D, 2e-3)
    for step in range(steps):
        d_opt.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
        real, fake = (pacgan.pack(draw(which, 512 * m), m) for which in (None, name))
        learn(d_opt, pacgan.discriminator_loss(D(real), D(fake)))
    with torch.no_grad():
        real, fake = (D(pacgan.pack(draw(which, 100_000 * m), m)) for which in (None, name))
    return ((real > 0).double().mean() + (fake <= 0).double().mean() - 1).item()


def packing(figure: Figure) -> list[str]:
    """In packs, a generator that drops a mode is told from the data much faster than one a little wrong everywhere.

    Two generators, both at total variation 0.2 from the data (uniform on [0, 1]): for one sample at a time they are
    equally bad. For packs of m, the total variation of the m-fold products is what D can tell (Lin et al. 2018, arXiv
    1712.04086): dropping a mode is as visible as any generator at 0.2 can be, 1 - 0.8^m. So the loss of a
    packed D charges for dropped modes. Dots: 2 accuracy - 1 of pacgan.py's discriminator, trained on packs.
    """
    figure.set_size_inches(10, 7.6)
    density, tv, *maps = figure.subplots(2, 2).flat
    largest = 16
    sizes, x = list(range(1, largest + 1)), torch.linspace(0, 1, 401)[:-1]
    rows = []
    for axes, (name, (cut, below, above, colour)) in zip(maps, TARGETS.items(), strict=True):
        q = torch.where(x < cut, below, above)
        density.plot(x, q, color=colour, label=name)
        exact = [packed_tv(cut, cut * below, m) for m in sizes]
        learned = [learned_tv(name, m) for m in sizes[:4]]
        tv.plot(sizes, exact, color=colour)
        tv.plot(sizes[:4], learned, "o", color=colour)
        rows += [[name, "exact", *exact[:4], exact[-1]], ["", "learned by D", *learned, ""]]
        axes.imshow(q[:, None] * q - 1, extent=(0, 1, 0, 1), origin="lower", cmap="RdBu_r", vmin=-1.2, vmax=1.2)
        axes.set(
            xlabel="first sample of a pack",
            ylabel="second sample",
            title=f"packs of 2: {name}\n(blue: too few, red: too many)",
        )
    rows.append(["bound, 1 - 0.8^m", "", *(1 - 0.8**m for m in sizes[:4]), 1 - 0.8**largest])
    density.axhline(1, color=GREY, label="the data")
    density.set(xlabel="x", ylabel="density", ylim=(-0.05, 2.1), title="two generators at total variation 0.2")
    density.legend(loc="upper center", ncols=1)
    tv.set(
        xlabel="samples in a pack, m",
        ylabel="total variation",
        ylim=(0, 1),
        title="what D can tell",
        xticks=[1, 2, 4, 8, 16],
    )
    return table(["total variation", "", *(f"m = {m}" for m in sizes[:4]), f"m = {largest}"], rows)


# exact-losses -------------------------------------------------------------------------------------------------------


def logit(p: Tensor, q: Tensor) -> list[Tensor]:
    return [(p / q).log()]


def inverse_softplus(x: Tensor) -> Tensor:
    return x + torch.log(-torch.expm1(-x))


def both_logits(p: Tensor, q: Tensor) -> list[Tensor]:
    return logit(p, q) + logit(q, p)


def mle_loss(max_logit: float) -> Callable:
    return lambda d: mlegan.generator_loss(d, max_logit)


def dual_d_loss(name: str) -> Callable:
    return lambda d1, d2: dual_d_selu.generator_loss(d1, d2, name)


def w1_critic(p: Tensor, q: Tensor) -> list[Tensor]:
    """The best critic of slope 1 on a line of cells: it rises where mass must move up."""
    slopes = (q - p).cumsum(0)[:-1].sign()
    return [torch.cat([torch.zeros(1, dtype=p.dtype), slopes.cumsum(0)])]


def least_squares(p: Tensor, q: Tensor) -> Tensor:
    """sum p phi(q / p) with the convex phi(r) = r - 2 log(1 + r) - 1 / (1 + r) + 2 log 2 - 1/2."""
    r = q / p
    return (p * (r - 2 * (1 + r).log() - 1 / (1 + r) + 2 * math.log(2) - 0.5)).sum()


def guarded_kl(p: Tensor, q: Tensor, c: float) -> Tensor:
    """KL(p, q) where q is above p / e^c; below, charges grow to no more than c + 2, not to infinity."""
    r, r0 = q / p, math.exp(-c)
    below = c - math.exp(c) * ((2 - c) * (r - r0) - (r * r.log() + r0 * c))
    return (p * torch.where(r > r0, -r.log(), below)).sum()


class Exact(NamedTuple):
    """What G's loss in a file descends while D is at its best and held fixed. p is p_data and q is p_g, [K]."""

    file: str
    name: str  # of the divergence
    divergence: Callable
    optimal: Callable  # D's best outputs for p and q, one [K] for each discriminator
    loss: Callable  # of G, from D's outputs
    packs: int = 1  # p and q are those of so many samples at once
    colour: str | None = None  # of its curve in the figure; None: it is there already, or depends on more than q / p


ALPHA, BETA = 0.2, 0.1  # of D2GAN
NON_SATURATING = "KL(q, p) - 2 JS", lambda p, q: kl(q, p) - 2 * js(p, q)
LEAST_SQUARES = lambda p, q: [p / (p + q)], lsgan.generator_loss
EXACT = [
    Exact("gan", "2 JS", lambda p, q: 2 * js(p, q), logit, gan.generator_loss, colour=RED),
    Exact("nsgan", *NON_SATURATING, logit, nsgan.generator_loss, colour=BLUE),
    Exact("dragan, without its penalty", *NON_SATURATING, logit, dragan.generator_loss),
    Exact("pacgan, m = 2", "the same, of pairs", NON_SATURATING[1], logit, pacgan.generator_loss, packs=2),
    Exact("lsgan", "f-divergence", least_squares, *LEAST_SQUARES, colour=ORANGE),
    Exact("wgan, slope 1 at most", "W1 on a line", w1, w1_critic, wgan.generator_loss),
    Exact("wgan_gp, slope 1 at most", "W1 on a line", w1, w1_critic, wgan_gp.generator_loss),
    Exact("mlegan", "KL(p, q)", kl, logit, mle_loss(math.inf), colour=PINK),
    Exact("mlegan, max_logit 0", "KL(p, q), guarded", lambda p, q: guarded_kl(p, q, 0.0), logit, mle_loss(0.0)),
    Exact("mlegan, max_logit 3", "KL(p, q), guarded", lambda p, q: guarded_kl(p, q, 3.0), logit, mle_loss(3.0)),
    Exact(
        f"d2gan, {ALPHA} and {BETA}",
        f"{ALPHA} KL(p, q) + {BETA} KL(q, p)",
        lambda p, q: ALPHA * kl(p, q) + BETA * kl(q, p),
        lambda p, q: [inverse_softplus(ALPHA * p / q), inverse_softplus(BETA * q / p)],
        lambda d1, d2: d2gan.generator_loss(d1, d2, BETA),
        colour=PURPLE,
    ),
    Exact("dual_d_selu", "KL(q, p)", lambda p, q: kl(q, p), both_logits, dual_d_selu.generator_loss, colour=SKY),
    Exact("dual_d_selu --loss eq6", "4 JS", lambda p, q: 4 * js(p, q), both_logits, dual_d_loss("eq6")),
    # the best hinge outputs are the signs of p - q and of q - p
    Exact(
        "dual_d_selu --loss hinge",
        "4 total variation",
        lambda p, q: 2 * (p - q).abs().sum(),
        lambda p, q: [(p - q).sign(), (q - p).sign()],
        dual_d_loss("hinge"),
        colour=GREY,
    ),
]


def random_pair(seed: int) -> tuple[Tensor, Tensor]:
    """Two random categorical distributions on 2 to 31 cells: p, and the logits of q, which need a gradient."""
    generator = torch.Generator().manual_seed(seed)
    scale = (0.1, 1.0, 3.0)[seed % 3]
    p, l = scale * torch.randn(2, 2 + seed % 30, generator=generator, dtype=torch.float64)  # noqa: E741
    return torch.softmax(p, 0), l.requires_grad_()


def gradients(row: Exact, p: Tensor, l: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741
    """The gradients in the logits l of q of G's loss, with D at its best and held fixed, and of the divergence."""
    q = torch.softmax(l, 0)
    for _ in range(row.packs - 1):
        p, q = torch.outer(p, p).flatten(), torch.outer(q, q).flatten()
    value = (q * each(row.loss, *row.optimal(p, q.detach()))).sum()
    (of_loss,) = torch.autograd.grad(value, l, retain_graph=True)
    return of_loss, torch.autograd.grad(row.divergence(p, q), l)[0]


def charge(row: Exact, r: Tensor) -> Tensor:
    """What a loss that depends on r = q / p alone charges where q is r times p, [N], for r [N].

    It descends the f-divergence sum p phi(r) with phi'(r) = h(r) - h(1), h G's loss at D's best output for r. Where
    r < 1 this is phi(r), per mass of data that G misses; where r > 1 phi(r) / r, per mass of samples too many.
    """
    u, w = (torch.from_numpy(x) for x in numpy.polynomial.legendre.leggauss(200))
    log_s = r.log()[:, None] * (1 + u) / 2  # from 1 to r, in steps even in log s
    s = log_s.exp()

    def h(s):
        return each(row.loss, *row.optimal(torch.ones_like(s), s))

    slopes = h(s.flatten()).view_as(s) - h(torch.ones(1, dtype=r.dtype))
    phi = (slopes * s * w).sum(1) * r.log() / 2
    return torch.where(r < 1, phi, phi / r)


def alignment(row: Exact, p: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """The cosine between the two `gradients`, and the ratio of their norms, [2]."""
    a, b = gradients(row, p, l)
    return torch.stack([a @ b / (a.norm() * b.norm()), a.norm() / b.norm()])


def findings(pairs: int) -> list[list]:
    """Statements of papers and notes, measured on random pairs: [statement, what was found]."""

    def chi_square(p, q):
        return ((p - q) ** 2 / (p + q)).sum()

    coding = Exact("", "", chi_square, lambda p, q: [(p - q) / (p + q)], lambda d: lsgan.generator_loss(d, 0.0))
    zero_one = coding._replace(optimal=LEAST_SQUARES[0], loss=LEAST_SQUARES[1])
    two_d = next(row for row in EXACT if row.file == "dual_d_selu")
    one_d = two_d._replace(optimal=logit, loss=lambda d: -d.mean())  # its G minimises -logit
    identity, dual, answered, near = [], [], [], {"coding": [], "zero_one": []}
    for seed in range(pairs):
        p, l = random_pair(seed)  # noqa: E741
        q = torch.softmax(l.detach(), 0)
        identity.append(kl(q, p) - 2 * js(p, q) - 2 * kl((p + q) / 2, p))
        dual.append((gradients(one_d, p, l)[0] - gradients(two_d, p, l)[0]).abs().max())
        d, nothing = logit(p, torch.softmax(l, 0))[0], torch.zeros_like(p)  # D's best answer, which moves with G
        real, fake = each(unrolled.generator_loss, d, nothing), each(unrolled.generator_loss, nothing, d)
        (moved,) = torch.autograd.grad(p @ real + torch.softmax(l, 0) @ fake, l)
        (wanted,) = torch.autograd.grad(2 * js(p, torch.softmax(l, 0)), l)
        answered.append((moved - wanted).abs().max())
        close = (p.log() + 0.01 * l.detach()).requires_grad_()
        near["coding"].append(alignment(coding, p, close))
        near["zero_one"].append(alignment(zero_one, p, close))
    cosine, ratio = torch.stack(near["coding"]).mean(0).tolist()
    cosine01, ratio01 = torch.stack(near["zero_one"]).mean(0).tolist()
    return [
        [
            "nsgan.py: KL(q, p) - 2 JS is 2 KL((p + q) / 2, p), so never negative: error",
            torch.stack(identity).abs().max(),
        ],
        ["lsgan.py, coding (-1, 1, 0), q near p: cosine of its gradient with that of its chi-square, mean", cosine],
        ["... its norm, relative to that of chi-square", ratio],
        ["lsgan.py, coding 0-1, q near p: cosine", cosine01],
        ["... relative norm", ratio01],
        ["dual_d_selu.py's gradient is that of -logit of one discriminator: error", torch.stack(dual).max()],
        ["unrolled.py, with all of D's answer (K without end): gradient and that of 2 JS: error", max(answered)],
    ]


def exact_losses(figure: Figure) -> list[str]:
    """Which divergence each loss descends when D is at its best, and whether it charges for missing modes.

    p is p_data and q is p_g, categorical, 300 random pairs, float64. D is at its optimum, in closed form, and held
    fixed; the gradient of G's loss is compared with that of the divergence (error: the largest difference of any
    component). Most losses charge sum p phi(q / p), with phi(1) = phi'(1) = 0. missing: phi per mass of data, where G
    makes a thousandth of its share; too many: per mass of samples, where it makes a thousand times the share. Compare
    the two sides of one loss, not two losses: their scales are arbitrary. The non-saturating loss, least squares and
    dual_d_selu.py charge little for what is missing; JS is even; maximum likelihood is the opposite. W1 is not of that
    kind: it charges mass times distance, and only a critic of slope 1 at most gives it. unrolled.py descends the value
    itself, with D's answer to G, and so with K without end 2 JS (below). began.py is on none: it holds the ratio of
    D's mean errors.
    """
    figure.set_size_inches(9, 6.4)
    axes, rows, edge = figure.subplots(), [], torch.tensor([1e-3, 1e3], dtype=torch.float64)
    r = torch.logspace(-3, 3, 241, dtype=torch.float64)
    for row in EXACT:
        both = [gradients(row, *random_pair(seed)) for seed in range(300)]
        error = max((a - b).abs().max().item() for a, b in both)
        charges = charge(row, edge).tolist() if row.packs == 1 and row.divergence is not w1 else None
        rows.append(
            [row.file, row.name, f"{error:.0e}", *([*charges, charges[0] / charges[1]] if charges else [""] * 3)]
        )
        if row.colour:
            axes.plot(r, charge(row, r), color=row.colour, label=f"{row.file}: {row.name}")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(xscale="log", xlabel="p_g / p_data: missing (left), too many (right)")
    axes.set(ylabel="charge per mass, in the loss's units", title="what each loss charges for: compare left with right")
    figure.legend(loc="outside lower center", ncols=2)
    head = ["file", "descends", "error", "charge: missing", "charge: too many", "ratio"]
    found = [[what, f"{number:.4f}" if abs(number) > 1e-3 else f"{number:.0e}"] for what, number in findings(300)]
    return table(head, rows) + table(["", "found"], found)


DEMOS = {
    "divergences": divergences,
    "vanishing-gradient": vanishing_gradient,
    "oscillation": oscillation,
    "collapse-to-a-point": collapse_to_a_point,
    "minimax-or-maximin": minimax_or_maximin,
    "dirac": dirac,
    "packing": packing,
    "exact-losses": exact_losses,
}


@dataclass
class Args:
    names: tyro.conf.Positional[tuple[Literal[("all", *DEMOS)], ...]] = ("all",)
    """which demonstrations"""
    out: str = "results/pathologies"
    """folder for the pages and figures, relative to the repository's root"""


def main(args: Args) -> None:
    torch.set_num_threads(1)  # small operations: more threads only wait for each other
    out = ROOT / args.out
    out.mkdir(parents=True, exist_ok=True)
    for name in DEMOS if "all" in args.names else args.names:
        with plt.rc_context(STYLE):
            figure = plt.figure(layout="constrained")
            numbers = DEMOS[name](figure)
            figure.savefig(out / f"{name}.png")
            plt.close(figure)
        what, _, text = inspect.getdoc(DEMOS[name]).partition("\n\n")
        print(f"# {name}: {what}\n", text, "\n", "\n".join(numbers), sep="\n", flush=True)
        page = [f"# {name}", f"**{what}**", f"![{name}]({name}.png)", text, "\n".join(numbers).strip()]
        page.append(f"Made by `python scripts/pathologies.py {name}`.\n")
        (out / f"{name}.md").write_text("\n\n".join(page))


if __name__ == "__main__":
    main(tyro.cli(Args))
