"""The smallest GAN circles its equilibrium or creeps towards it; of these games, only R1's penalty leads in fast.

All data are at 0, all samples are at theta, and D(x) = psi x. Both players move without pause (Mescheder, Geiger &
Nowozin 2018, arXiv 1801.04406). The eigenvalues at the equilibrium (0, 0) say how the players move near it. Where their
real part is 0, no linear force leads in.
Minimax and Wasserstein keep their distance. The non-saturating loss comes in as 1 / sqrt(t), by a force of higher
order. Clipping stops the critic at 0.5, and the players circle inside. WGAN-GP's penalty wants a slope of 1 where the
equilibrium needs 0. With lambda = 0.1, as here, the players end on a cycle. From lambda = 1 on D cannot even turn, and
G is left 2 lambda from the data. R1 is gamma / 2 times the squared slope at the data, with gamma = 0.5 here. R1 wants a
slope of 0 there, and leads in. dragan.py's penalty at the data wants a slope of 1, and does not lead in.
r3gan.py compares a real and a generated sample. All real samples are the same here, so these pairs change nothing. R2
is R1 at G's samples. R1 and R2 together pull twice as hard as R1 alone. With gamma = 0.5 this is the fastest way in,
and has no turn. A larger gamma would make it slower again.
A real D has more than one slope, so this is only the local picture. Gradient steps of a rate lr multiply the distance
by |1 + lr eigenvalue|. This is more than 1 where the real part is 0, so such steps lead away.
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import dragan, gan, nsgan, r1, r3gan, wgan, wgan_gp
from scripts.lib.stage import BLUE, GREEN, PURPLE, RED, show
from scripts.lib.tables import table

DT = 0.1  # time between two points of a path
GAMMA, CLIP, LAMBDA = 0.5, 0.5, 0.1  # of R1 and others, with the factor 1/2; of clipping; of WGAN-GP
GAMES = {  # name: (the file of its losses, what D's loss has besides, from D and samples x and G(z); colour)
    "minimax": (gan, None, RED),
    "non-saturating": (nsgan, None, BLUE),
    "Wasserstein": (wgan, None, GREEN),
    "Wasserstein, clipped": (wgan, None, GREEN),
    "WGAN-GP": (wgan_gp, lambda D, x, fake: LAMBDA * wgan_gp.gradient_penalty(D, x, fake), GREEN),
    "DRAGAN": (dragan, lambda D, x, fake: GAMMA / 2 * dragan.gradient_penalty(D, x), BLUE),
    "non-saturating + R1": (r1, lambda D, x, fake: GAMMA / 2 * r1.gradient_penalty(x, D(x)), BLUE),
    "paired": (r3gan, None, PURPLE),
    "paired + R1 + R2": (
        r3gan,
        lambda D, *both: GAMMA / 2 * sum(r3gan.gradient_penalty(x, D(x)) for x in both),
        PURPLE,
    ),
}


def inward(c: float) -> tuple[complex, complex]:
    """-c +- (c^2 - 1/4)^0.5, if penalties add c psi^2 to D's loss: fastest with c = 1/2, by exp(-t / 2)."""
    return -c + (c**2 - 1 / 4 + 0j) ** 0.5, -c - (c**2 - 1 / 4 + 0j) ** 0.5


EIGENVALUES = {  # at (0, 0), of the field (d theta / dt, d psi / dt); those that are not here have a kink at psi = 0
    "minimax": (0.5j, -0.5j),
    "non-saturating": (0.5j, -0.5j),
    "Wasserstein": (1j, -1j),
    "Wasserstein, clipped": (1j, -1j),
    "non-saturating + R1": inward(GAMMA / 2),
    "paired": (0.5j, -0.5j),
    "paired + R1 + R2": inward(GAMMA),
}


def field(name: str, theta_psi: Tensor) -> Tensor:
    """(d theta / dt, d psi / dt) at (theta, psi), [2], if each player descends its loss.

    All data are at 0, G's samples at theta, and D(x) = psi x.
    """
    module, penalty, _ = GAMES[name]
    theta_psi = theta_psi.clone().requires_grad_()
    real, fake = torch.zeros(1, 1, dtype=theta_psi.dtype, requires_grad=True), theta_psi[:1, None]

    def D(x):
        return theta_psi[1] * x[:, 0]

    g_loss = module.generator_loss(*[D(real)] * (module is r3gan), D(fake))
    d_loss = module.discriminator_loss(D(real), D(fake))
    if penalty:
        d_loss = d_loss + penalty(D, real, fake)
    g_slope, d_slope = (torch.autograd.grad(loss, theta_psi, retain_graph=True)[0] for loss in (g_loss, d_loss))
    return -torch.stack([g_slope[0], d_slope[1]])


def flow(name: str, time: float) -> Tensor:
    """The path from (1, 1) when both players move without pause, every DT: Runge-Kutta of order 4."""
    point, path, D = torch.ones(2, dtype=torch.float64), [], nn.Linear(1, 1, bias=False, dtype=torch.float64)
    for _ in range(round(time / DT) + 1):
        path.append(point)
        v1 = field(name, point)
        v2 = field(name, point + DT / 2 * v1)
        v3 = field(name, point + DT / 2 * v2)
        v4 = field(name, point + DT * v3)
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
    jacobian = torch.stack([(field(name, step) - field(name, -step)) / 2e-4 for step in steps], 1)
    return torch.linalg.eigvals(jacobian)


def dirac(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
    figure.set_size_inches(10, 10.4)
    axis, rows = torch.linspace(-1.8, 1.8, 15, dtype=torch.float64), []
    for axes, (name, (*_, colour)) in zip(
        figure.subplots(3, 3, sharex=True, sharey=True).flat, GAMES.items(), strict=True
    ):
        grid = torch.stack([torch.stack([field(name, torch.stack([t, p])) for t in axis]) for p in axis])
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
                ", ".join(f"{x.real + 0:.3f}{round(x.imag, 3) + 0:+.3f}i" for x in sorted(e, key=lambda x: -x.imag))
                for e in both
            ]
        rows.append([name, *shown, *(distance[round(t / DT)].item() for t in (0, 10, 30, 60))])
    figure.supxlabel("theta: where G's samples are (the data: 0)")
    figure.supylabel("psi: the slope of D")
    return table(
        ["game", "eigenvalues at (0, 0)", "closed form", *(f"distance at t = {t}" for t in (0, 10, 30, 60))], rows
    )


if __name__ == "__main__":
    show(dirac, __doc__)
