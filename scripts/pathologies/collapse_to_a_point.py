"""Against a D that does not learn, all samples of G may end at one point; when D learns again, the point hops.

G learns while D does not (nsgan.py on a ring with sd 0.3; three seeds). Lecture notes say that all samples then end at
the one point that D likes best, and that the gradient in z goes to 0. The gradient falls in all runs. All samples end
at one point if G starts narrow, within reach of one maximum of D; otherwise they seldom do. A G that has all eight
modes keeps several narrow clumps. The D of an ordinary training may rise beyond the data, and then all samples leave
the data.
When D learns again and G has five updates to each of D, the point hops from mode to mode during all 1,500 updates. With
one update to each of D, G recovers all eight modes.
The first plot shows where the samples of the first seed end; a dark place is one that D takes for real.
modes: the number of modes that are nearest to at least a tenth of their fair share of 1,000 samples. clump: the mean
distance of a sample from the centre of the samples of its mode. far: the mean distance of a sample from the origin.
slope: the median of |d loss / d z|.
"""

import copy
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import nsgan
from common.data import Points
from common.metrics import mode_statistics
from scripts.lib.stage import BLUE, GREEN, ORANGE, RED, SKY, adam, each, learn, ring, show
from scripts.lib.tables import table


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
    """modes, clump, far and slope of G's samples after each number of updates in `checks` (rising). D stands still.

    modes: the number that are nearest to at least a tenth of their fair share of samples; clump: the mean distance of a
    sample from the centre of those of its mode; far: the mean distance from the origin; slope: the median norm of the
    gradient of a sample's loss in its z. Distances are in units of x.
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
    """modes, clump and far of samples [N, 2], as in `against_frozen`."""
    mode = nn.functional.one_hot(torch.cdist(x, ring(0.3).modes).argmin(1), 8).float()  # [N, 8]
    centres = mode @ (mode.T @ x / mode.sum(0).clamp(min=1)[:, None])
    modes = mode_statistics(x, ring(0.3).modes, 0.3)["coverage"]
    return {"modes": modes, "clump": (x - centres).norm(dim=1).mean().item(), "far": x.norm(dim=1).mean().item()}


def collapse_to_a_point(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
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


if __name__ == "__main__":
    show(collapse_to_a_point, __doc__)
