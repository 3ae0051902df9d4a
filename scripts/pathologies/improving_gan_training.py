"""Noise on D's inputs and a penalty on D's weights end the circling; of four other techniques only two act on it.

Lecture notes list ways to improve GAN training: those of Salimans et al. 2016, arXiv 1606.03498, and, against
oscillation, noise on D's inputs and a penalty on its weights. Each is put into the smallest GAN (see dirac): all data
are at 0, all samples at theta, and D(x) = psi x. With the loss of wgan.py this is the game V = xy.
Noise of standard deviation s adds what R1 would with gamma = s^2 / 2, near the equilibrium: a D that is steep is wrong
more often. In V = xy noise does nothing, since the loss is linear in D. A penalty w / 2 psi^2 works in both. Here
s = 1 and w = 0.5 have the same eigenvalues, and those of R1 with gamma = 0.5.
Feature matching gives G the mean of the data as its goal, and the features of this D are x itself. So G goes there
straight and D stops anywhere: one eigenvalue is 0. Historical averaging, c |w - mean of all w before|^2 for both, damps
the turn about that mean. But the mean moves ever more slowly, and the players come in only as a power of the time,
t^(-0.25 / (4 c^2 + 0.25)). The more it damps, the slower it comes in. Label smoothing and minibatch discrimination
change nothing here: D(0) = 0 for all psi, and samples at one point are as close to each other as data at one point are.
Virtual batch norm would divide by a deviation of 0.
Left: the best D. Smoothing scales it by 0.9, so that D is never sure of data. Noise spreads data and samples, so that D
is less sure, and has a slope further away. Minibatch discrimination multiplies the odds p_data / p_g of a whole batch;
a penalty on the weights has no closed form; the others leave the best D as it is.
Right: the ring. This game has one place and no modes, and so says little about them: the weight penalty ends the
circling and keeps no more modes. Most rows are the committed runs of results/quick and results/stabilisers. Label
smoothing and historical averaging are run here, as algos/README.md has them (c is 0.01 there), with seeds 41 and 42:
two seeds are no result. The two rows of results/quick have settings of their own. Virtual batch norm was not run, since
no D in algos/ has batch norm.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import feature_matching, minibatch_discrimination, nsgan, wgan
from common.metrics import mode_statistics
from scripts.lib.inside import inside, updates
from scripts.lib.stage import BLUE, GREEN, GREY, ORANGE, PINK, PURPLE, RED, ROOT, X, each, normal, show
from scripts.lib.suites import earlier
from scripts.lib.tables import read_rows, table
from scripts.lib.variants import module_of

SD, WEIGHT, PAST, RATE = 1.0, 0.5, 0.25, 0.1  # of the noise; of w / 2 psi^2; c of historical averaging; of steps
FAST = (-PAST * 2 + 0.5j, -PAST * 2 - 0.5j)
CIRCLE, DAMPED = (0.5j, -0.5j), (-0.25 + 0.1875**0.5 * 1j, -0.25 - 0.1875**0.5 * 1j)
TECHNIQUES = {  # name: (suite and label of its runs, or the file to run, eigenvalues, factor in V = xy, colour)
    "nothing": ("stabilisers nsgan", CIRCLE, (1 + RATE**2) ** 0.5, GREY),
    "noise": ("stabilisers with noise", DAMPED, (1 + RATE**2) ** 0.5, BLUE),
    "weight penalty": ("stabilisers with weight penalty", DAMPED, (1 - WEIGHT * RATE + RATE**2) ** 0.5, GREEN),
    "feature matching": ("quick feature_matching", (0, -2), 1.0, ORANGE),
    "historical averaging": ("runs/nsgan-history", FAST, ((1 - 2 * PAST * RATE) ** 2 + RATE**2) ** 0.5, RED),
    "label smoothing": ("runs/nsgan-smoothing", CIRCLE, (1 + RATE**2) ** 0.5, PURPLE),
    "minibatch discrimination": ("quick minibatch_discrimination", CIRCLE, (1 + RATE**2) ** 0.5, PINK),
}
CLOSENESS = minibatch_discrimination.MinibatchDiscrimination(1).double()
NODES, WEIGHTS = (torch.tensor(n) for n in np.polynomial.hermite_e.hermegauss(40))  # exact means over N(0, 1)


def field(name: str, at: Tensor, past: Tensor, module=nsgan) -> Tensor:
    """(d theta / dt, d psi / dt) at (theta, psi), [2], if each player descends its loss, with one of the TECHNIQUES.

    past: the mean of all (theta, psi) before. module: of the losses; with those of wgan.py this is V = theta psi.
    """
    at = at.clone().requires_grad_()

    def D(x):  # closeness less that of a batch at one point, as its weight in D would learn
        return at[1] * x + ((CLOSENESS(x[:, None])[:, 1:] - len(x) + 1).sum(1) if "minibatch" in name else 0.0)

    noise = SD * NODES if name == "noise" else 0 * NODES
    real, fake, weights = noise, at[0] + noise, WEIGHTS / WEIGHTS.sum()
    d_loss = weights @ each(module.discriminator_loss, D(real), D(fake))
    g_loss = weights @ each(module.generator_loss, D(fake))
    if name == "feature matching":
        g_loss = feature_matching.generator_loss((weights @ real)[None], (weights @ fake)[None])
    if name == "weight penalty":
        d_loss = d_loss + WEIGHT / 2 * at[1] ** 2
    if name == "label smoothing":
        d_loss = d_loss + 0.1 * weights @ D(real)
    if name == "historical averaging":
        g_loss, d_loss = (loss + PAST * (at - past).square().sum() for loss in (g_loss, d_loss))
    g_slope, d_slope = (torch.autograd.grad(loss, at, retain_graph=True)[0] for loss in (g_loss, d_loss))
    return -torch.stack([g_slope[0], d_slope[1]])


def eigenvalues(name: str, module=nsgan) -> list[complex]:
    """Of the field's Jacobian at (0, 0), where the mean of the past is held at (0, 0); the upper one first."""
    zero, steps = torch.zeros(2, dtype=torch.float64), 1e-4 * torch.eye(2, dtype=torch.float64)
    sides = [field(name, step, zero, module) - field(name, -step, zero, module) for step in steps]
    return sorted(torch.linalg.eigvals(torch.stack(sides, 1) / 2e-4).tolist(), key=lambda x: (-x.imag, -x.real))


def flow(name: str, time: float, dt: float = 0.1, module=nsgan) -> Tensor:
    """(theta, psi) from (1, 1) when both move without pause, every dt from t = 1: by the midpoint method."""
    at, past, path = torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64), []
    for step in range(round(time / dt) + 1):
        path.append(at)
        t = 1 + step * dt  # the mean of the past has the age t
        middle, past_middle = at + dt / 2 * field(name, at, past, module), past + dt / 2 * (at - past) / t
        at, past = at + dt * field(name, middle, past_middle, module), past + dt * (middle - past_middle) / (t + dt / 2)
    return torch.stack(path)


def best_d(name: str, p: Tensor, q: Tensor) -> Tensor:
    """D's best probability of "real" on the line X, for the probabilities p of the data and q of the samples."""
    if name == "noise":  # which spreads both
        p, q = (torch.nn.functional.conv1d(d[None], normal(0.0, SD)[None, None], padding="same")[0] for d in (p, q))
    return (0.9 if name == "label smoothing" else 1.0) * p / (p + q)


def on_the_ring(runs: str) -> list[tuple[float, float]]:
    """(coverage, sharp) of each seed, of committed runs, or of a file that is trained here with seeds 41 and 42."""
    if "/" not in runs:
        suite, label = runs.split(" ", 1)
        rows = read_rows(ROOT / "results" / suite / "runs.csv")
        rows = [row for row in rows if (row["label"], row["dataset"]) == (label, "ring")]
        return [(float(row["coverage"]), float(row["high_quality"])) for row in rows]
    ends = []
    for local in (inside(module_of(f"{runs}.py"), seed=seed, **earlier(nsgan)) for seed in (41, 42)):
        for _ in updates(local):
            pass
        ends.append(mode_statistics(local["G"](local["run"].z).detach(), local["data"].modes, local["data"].std))
    return [(numbers["coverage"], numbers["high_quality"]) for numbers in ends]


def improving_gan_training(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
    figure.set_size_inches(12, 5.4)
    best, paths, ring = figure.subplots(1, 3)
    p, q, rows = normal(-1.5, 0.7), normal(1.5, 0.7), []
    for i, (name, (runs, closed, factor, colour)) in enumerate(TECHNIQUES.items()):
        if name in ("nothing", "noise", "label smoothing"):
            shown = X.abs() < 5
            best.plot(X[shown], best_d(name, p, q)[shown], color=colour)
        path = flow(name, 60)
        style = "-" if name in ("noise", "feature matching", "historical averaging") else "--"
        paths.plot(1 + 0.1 * torch.arange(len(path)), path.norm(dim=1), style, color=colour, label=name)
        both = ((f"{x.real + 0:.3f}{x.imag + 0:+.3f}i" for x in map(complex, e)) for e in (eigenvalues(name), closed))
        step = max(abs(1 + RATE * x) for x in eigenvalues(name, wgan))
        seeds = torch.tensor(on_the_ring(runs))
        ring.barh(-i, seeds[:, 0].mean(), color=colour)
        ring.plot(seeds[:, 0], torch.full((len(seeds),), -i - 0.25), "ko", markersize=5, clip_on=False)
        numbers = path[-1].norm().item(), f"{step:.4f}", f"{factor:.4f}", len(seeds), *seeds.mean(0).tolist()
        rows.append([name, *map(", ".join, both), *numbers])
    best.set(xlabel="x (data: -1.5, samples: 1.5)", ylabel='probability of "real"', ylim=(0, 1.02), title="the best D")
    paths.set(xscale="log", yscale="log", ylim=(1e-4, 3), xlabel="time", title="distance from (0, 0)")
    ring.set(yticks=[], xlim=(0, 8), xlabel="modes covered of 8 (dots: runs)", title="the ring")
    figure.legend(loc="outside lower center", ncols=4)
    head = ["technique", "eigenvalues at (0, 0)", "closed form", "distance at t = 61", "factor per step of V = xy"]
    return table([*head, "closed form", "runs", "ring: coverage", "ring: sharp"], rows)


if __name__ == "__main__":
    show(improving_gan_training, __doc__)
