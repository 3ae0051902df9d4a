"""W1 is the cost of the cheapest way to move q onto p; a critic of slope at most 1 tells it, and it never jumps.

Plan: each point of q goes to one of p, so that the mean distance is least. This mean is W1.
Interpolation: moving all mass along the plan at once makes one bump that travels. Fading, (1 - t) p + t q, lowers one
bump and raises the other. W1 alone does not prefer the plan: both ways are W1 long, without a detour. W2, the root of
the mean squared distance, does: after half of the way it is W2 / 2 along the plan, and for fading up to W2 / 2^0.5.
Barycentre: of three normal distributions it has their mean quantiles, and is normal again. Their mixture has three
modes. This is the barycentre of W2. That of W1 is not unique.
Dual: W1 is also the largest E_p f - E_q f of all f of slope at most 1 (Kantorovich and Rubinstein). Linear programming
finds such an f, the potential. wgan.py's critic is clipped, which limits its slope, but not to 1: only its gap divided
by its largest slope, between the outermost points, can be compared with W1, and it is less. wgan_gp.py's critic may be
steeper than 1 where much mass has to pass, for its penalty pays less for that than the gap gains. Its best slope is
1 + M / (2 lambda h). M is the mass that has to pass, and h the density of the points that the penalty sees. So its gap
is more than W1. Here lambda is 10, and the last columns have the best critic of each kind.
Continuity: all data are at 0, and all samples at theta. JS is 0 at theta = 0 and log 2 elsewhere, and has no slope. W1
is |theta|, and its slope says where to go.
"""

import math
import sys
from pathlib import Path

import numpy
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import wgan, wgan_gp
from common.metrics import distances
from scripts.lib.stage import BLUE, GREEN, GREY, ORANGE, RED, STEP, X, adam, js, learn, normal, show, w1
from scripts.lib.tables import table

LAMBDA, CLIP = 10.0, 0.1  # of WGAN-GP; of clipping
P, Q = (normal(-2.0, 0.5) + normal(2.0, 0.5)) / 2, normal(0.5, 0.5)  # of the dual: the data have two modes


def plan(x: Tensor, y: Tensor) -> Tensor:
    """The point of y [N, d] to which each point of x [N, d] goes, as its number, [N]: the least mean distance."""
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(distances(x, y).numpy())[1])


def potential(x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """The f that is best for points x and y [N, d], as f(x) and f(y), [2 N], and its gap, mean f(x) - mean f(y).

    Linear programming, under f(a) - f(b) <= |a - b| for all pairs a, b of the points.
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    points, n = torch.cat([x, y]), len(x)
    a, b = (~torch.eye(2 * n, dtype=torch.bool)).nonzero().T
    row, one = torch.arange(len(a)), torch.ones(len(a))
    pairs = coo_array((torch.cat([one, -one]), (torch.cat([row, row]), torch.cat([a, b]))), (len(a), 2 * n))
    gap = numpy.repeat([1 / n, -1 / n], n)
    found = linprog(
        -gap, pairs, distances(points, points)[a, b].numpy(), bounds=[(0, 0)] + [(None, None)] * (2 * n - 1)
    )
    return torch.from_numpy(found.x), -found.fun


def quantiles(p: Tensor, n: int = 20_000) -> Tensor:
    """n equally likely points of a distribution on the line X, from left to right, [n]."""
    levels = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return torch.from_numpy(numpy.interp(levels, (p / p.sum()).cumsum(0), X + STEP / 2))


def w2(p: Tensor, q: Tensor) -> float:
    """The 2-Wasserstein distance on the line: there the plan couples equal quantiles."""
    return (quantiles(p) - quantiles(q)).square().mean().sqrt().item()


def on_the_line(points: Tensor) -> Tensor:
    """The distribution on the line X of points [N] that are sorted and equally likely: quantiles, inverted."""
    levels = (torch.arange(len(points), dtype=torch.float64) + 0.5) / len(points)
    below = torch.from_numpy(numpy.interp(X + STEP / 2, points, levels, left=0, right=1))
    return below.diff(prepend=torch.zeros(1, dtype=torch.float64))


def learned(kind: str, x: Tensor, y: Tensor, steps: int = 3000) -> torch.nn.Module:
    """The critic of wgan.py or wgan_gp.py, trained on all points x and y [N, 1] in every step; the rate falls to 0."""
    torch.manual_seed(1)
    x, y = x.float(), y.float()
    D = wgan.Discriminator((1,), 64)
    d_opt = adam(D, 3e-3)
    for step in range(steps):
        d_opt.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        if kind == "clipped":
            learn(d_opt, wgan.discriminator_loss(D(x), D(y)))
            wgan.clip_weights(D, CLIP)
        else:
            gp = wgan_gp.gradient_penalty(D, x, y[torch.randperm(len(y))])
            learn(d_opt, wgan_gp.discriminator_loss(D(x), D(y)) + LAMBDA * gp)
    return D


def best_penalised(x: Tensor, y: Tensor) -> float:
    """The gap of the best critic under WGAN-GP's penalty, for points x and y [N, 1]: int M (1 + M / (2 lambda h)).

    M is |F_x - F_y|, and h the density of eps x + (1 - eps) y: for each pair it is uniform between the two.
    """
    cells = torch.linspace(-4, 4, 1601, dtype=torch.float64)[:, None, None]
    mass = ((x <= cells).double().mean(1) - (y <= cells).double().mean(1)).abs()[:, 0]
    between = (torch.minimum(x, y.T) <= cells) & (cells <= torch.maximum(x, y.T))  # [cells, N, N]
    h = (between / (x - y.T).abs()).mean((1, 2))
    return (mass * (1 + mass / (2 * LAMBDA * h.clamp(min=1e-9)))).sum().item() * 0.005


def ways(moves: Axes, along: Axes, centre: Axes) -> list[list]:
    """Draws the plan, the interpolation and the barycentre. Returns the rows of their table."""
    clumps = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)[torch.arange(60) % 2]
    y = clumps + 0.2 * torch.randn(60, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    angle = torch.arange(60, dtype=torch.float64) * math.tau / 60
    x = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    to = x[plan(y, x)]
    moves.plot(*torch.stack([y, to]).permute(2, 0, 1), color=GREY, linewidth=0.7)
    for points, colour, label in ((x, BLUE, "p, the data"), (y, ORANGE, "q"), ((to + y) / 2, GREEN, "half of the way")):
        moves.plot(*points.T, "o", color=colour, markersize=4, label=label)
    moves.set(aspect="equal", title="the plan from q to p")
    moves.axis("off")
    moves.legend(loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3, columnspacing=0.5, handletextpad=0)
    rows = [["plane: mean distance of the plan, the dual", (to - y).norm(dim=1).mean().item(), potential(x, y)[1]]]

    p, q = normal(-4.0, 0.6), normal(4.0, 1.2)
    for t, level in ((0.0, 4), (0.25, 3), (0.5, 2), (0.75, 1), (1.0, 0)):
        moved, faded = on_the_line((1 - t) * quantiles(p) + t * quantiles(q)), (1 - t) * p + t * q
        for at, colour, style in ((faded, RED, "--"), (moved, GREEN, "-")):
            along.plot(X, at / STEP + level, style, color=colour, linewidth=1.5)
        if t == 0.5:
            rows.append(
                ["W1, half of the way: along the plan, fading", *(w1(p, r, STEP).item() for r in (moved, faded))]
            )
            rows.append(["W2, half of the way: along the plan, fading", w2(p, moved), w2(p, faded)])
    along.plot([], [], color=GREEN, label="along the plan")
    along.plot([], [], "--", color=RED, label="fading")
    along.set(xlim=(-8, 9), ylim=(-0.1, 5.9), xlabel="x", yticks=range(5), yticklabels=["q", "3/4", "1/2", "1/4", "p"])
    along.set_title("from p to q")
    along.legend(loc="upper right", ncols=2, columnspacing=1)

    three = [normal(-6.0, 0.5), normal(0.0, 1.0), normal(6.0, 1.5)]
    middle = torch.stack([quantiles(r) for r in three]).mean(0)
    for r in three:
        centre.fill_between(X, r / STEP, color="#dddddd")
    centre.plot(X, sum(three) / 3 / STEP, "--", color=RED, label="mixture")
    centre.plot(X, on_the_line(middle) / STEP, color=GREEN, label="barycentre")
    centre.set(xlim=(-9, 11), ylim=(0, 0.9), xlabel="x", ylabel="density", title="the middle of three")
    centre.legend(loc="upper right")
    rows.append(["barycentre of three: mean and sd", middle.mean().item(), middle.std().item()])
    return [[what, f"{a:.3f}", f"{b:.3f}"] for what, a, b in rows]


def optimal_transport(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
    figure.set_size_inches(12, 7.8)
    *upper, dual, slope, jump = figure.subplots(2, 3).flat
    rows = ways(*upper)
    x, y = (quantiles(r, 64)[:, None] for r in (P, Q))
    f, exact = potential(x, y)
    at, order = torch.cat([x, y])[:, 0].sort()
    gaps, curves = [["linear programming", exact, 1.0, exact, exact]], [("linear programming", at, f[order], GREY, "-")]
    line = torch.linspace(-3.2, 3.2, 641)
    for kind, colour, style in (("clipped", ORANGE, "-."), ("penalised", GREEN, "--")):
        D = learned(kind, x, y)
        with torch.no_grad():
            gap, values = (D(x.float()).mean() - D(y.float()).mean()).item(), D(line[:, None])
        steepest = (values.diff() / 0.01)[(line > at[0])[:-1] & (line < at[-1])[1:]].abs().max().item()
        best = [best_penalised(x, y), 1.0, ""] if kind == "penalised" else ["", steepest, ", divided by its slope"]
        gaps.append([f"{kind} critic", gap, steepest, gap / steepest, best[0]])
        curves.append((kind + best[2], line, values / best[1], colour, style))
    for label, at, values, colour, style in curves:
        dual.plot(at, values - numpy.interp(0.5, at, values), style, color=colour, label=label)
        slope.plot((at[1:] + at[:-1]) / 2, values.diff() / at.diff(), style, color=colour)
    for r, colour in ((P, BLUE), (Q, ORANGE)):
        dual.fill_between(X, 1.5 * r / STEP - 1.5, -1.5, color=colour, alpha=0.25, linewidth=0)
    dual.set(xlim=(-3.2, 3.2), ylim=(-1.5, 6), xlabel="x (blue: p, orange: q)", title="the critic f")
    dual.legend(loc="upper center")
    slope.set(xlim=(-3.2, 3.2), ylim=(-1.6, 1.6), xlabel="x", title="its slope")

    thetas = [-2.0, -1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0, 2.0]
    data, *samples = (((X - t).abs() < STEP / 2).double() for t in (0.0, *thetas))  # all mass in one cell
    of_w1, of_js = [w1(data, q, STEP).item() for q in samples], [js(data, q).item() for q in samples]
    jump.plot(thetas, of_w1, color=GREEN, label="W1")
    for part, label in ((slice(4), "JS"), (slice(5, None), None)):
        jump.plot(thetas[part], of_js[part], color=RED, label=label)
    jump.plot([0, 0], [0, math.log(2)], "o", color=RED, markersize=7, fillstyle="none")
    jump.plot(0, 0, "o", color=RED, markersize=7)
    jump.set(xlabel="theta", title="all data at 0, all samples at theta", ylim=(-0.05, 2.1))
    jump.legend(loc="upper center")
    dual_head = ["the dual, on a line", "gap", "largest slope", "gap / slope", "gap of the best of its kind"]
    jumps = table(["theta =", *map(str, thetas[4:])], [["W1", *of_w1[4:]], ["JS", *of_js[4:]]])
    return table(["", "", ""], rows) + table(dual_head, gaps) + jumps


if __name__ == "__main__":
    show(optimal_transport, __doc__)
