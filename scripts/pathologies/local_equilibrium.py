"""A generator can end in a bad local equilibrium, which is mode collapse; averaged weights sharpen what G has found.

Left: G draws N(a, 1) and N(b, 1) equally often, the data have a mode at -4 and one at 4, and D is always at its best.
So G descends JS, in a and b. JS is convex in the probabilities of the samples: a G that could choose these would find
the data from anywhere. It is not convex in a and b. Where both start near the same mode they stay there, a little
apart, and no small step of G is any better for it: a local equilibrium. The price of the missing mode is
3/4 log(4/3) = 0.2158. With a = b the other mode still pulls them apart, but hardly.
An average over places is no solution here: that of the good equilibria, (4, -4) and (-4, 4), is (0, 0), which draws
samples only where there are no data. So the theorem of regret, on averages in convex games, says nothing about GANs.
Right: runs of the files on the ring, where the learning rate stays, and G does not come to rest. The average of G's
weights over about the last 100 updates (EMA with 0.99) is sharper than the last G. The likely reason: near one
equilibrium the samples are nearly linear in G's weights, so that averaging takes the swinging out. The mean of all
weights since the start has the first ones in it, which are of another place, and is blurred. No mode was lost in these
runs. Where modes were lost, an average brought none back (results/NOTES.md).
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import nsgan, r1, wgan_gp
from common.metrics import mode_statistics
from scripts.lib.inside import inside, updates
from scripts.lib.stage import BLUE, GREEN, GREY, ORANGE, RED, js, normal, show
from scripts.lib.suites import earlier
from scripts.lib.tables import table

STARTS = [(0.0, 1.0), (1.0, 2.0), (5.5, 2.5), (2.0, -6.0), (-1.0, -5.0), (-4.0, -4.0), (0.5, -0.5), (-6.0, 0.5)]


def two_modes(ab: Tensor) -> Tensor:
    """JS [nats] of the data, N(-4, 1) or N(4, 1), and samples that are N(a, 1) or N(b, 1), for ab [2]."""
    return js((normal(-4.0) + normal(4.0)) / 2, (normal(ab[0]) + normal(ab[1])) / 2)


def descend(start: tuple[float, float]) -> Tensor:
    """(a, b) on the way down JS by gradient steps from the start, [401, 2]."""
    ab, path = torch.tensor(start, dtype=torch.float64), []
    for _ in range(401):
        path.append(ab)
        ab = ab - 3 * torch.func.grad(two_modes)(ab)
    return torch.stack(path)


def averaged(module, seed: int, steps: int, every: int = 250) -> list[list[dict]]:
    """mode_statistics of the last G, its EMA (0.99) and the mean of all its weights, after every so many updates.

    module: a file of algos/, which trains with its earlier settings, but its learning rate stays.
    """
    local, rows = inside(module, seed=seed, **earlier(module) | {"steps": steps, "lr_decay": False}), []
    G, data = local["G"], local["data"]
    ema, mean = AveragedModel(G, multi_avg_fn=get_ema_multi_avg_fn(0.99)), AveragedModel(G)
    for step in updates(local):
        ema.update_parameters(G)
        mean.update_parameters(G)
        if step % every == 0:
            with torch.no_grad():
                rows.append([mode_statistics(g(local["run"].z), data.modes, data.std) for g in (G, ema, mean)])
    return rows


def local_equilibrium(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
    figure.set_size_inches(10.5, 6.4)
    land, *runs = figure.subplot_mosaic("AB;AC", width_ratios=(1.4, 1)).values()
    axis, ends, sharp = torch.linspace(-7, 7, 57, dtype=torch.float64), [], []
    heights = torch.vmap(two_modes)(torch.cartesian_prod(axis, axis)).view(57, 57).T
    shades = land.contourf(axis, axis, heights, levels=14, cmap="Greys")
    figure.colorbar(shades, ax=land, label="JS [nats]", location="bottom", shrink=0.8)
    for start in STARTS:
        path = descend(start)
        good = two_modes(path[-1]) < 0.1
        curves = torch.linalg.eigvalsh(torch.autograd.functional.hessian(two_modes, path[-1]))
        ends.append([str(start), *path[-1].tolist(), two_modes(path[-1]).item(), *curves.tolist()])
        land.plot(*path.T, color=BLUE if good else RED)
        land.plot(*path[-1], "o", color=BLUE if good else RED, markersize=9)
    land.set(xlabel="a", ylabel="b", aspect="equal", title="G's way down JS: to the data (blue), to one mode (red)")
    steps, every = 2500, 250
    for module, axes in ((wgan_gp, runs[0]), (r1, runs[1]), (nsgan, None)):
        name = module.__name__.rpartition(".")[2]
        seeds = [averaged(module, seed, steps, every) for seed in (1, 2)]
        for i, (what, colour) in enumerate((("the last G", GREY), ("EMA 0.99", GREEN), ("mean of all", ORANGE))):
            for rows in seeds if axes else ():
                label = what if rows is seeds[0] and axes is runs[0] else None
                axes.plot(
                    range(every, steps + 1, every), [r[i]["high_quality"] for r in rows], color=colour, label=label
                )
            late = [r[i] for rows in seeds for r in rows[len(rows) // 2 :]]
            means = [sum(s[n] for s in late) / len(late) for n in ("coverage", "high_quality", "js")]
            sharp.append([f"{name}.py", what, *means])
        if axes:
            axes.set(ylabel="sharp samples", xlim=(0, steps), ylim=(0, 1), title=f"{name}.py, two seeds")
    runs[1].set_xlabel("updates")
    figure.legend(loc="outside lower center", ncols=3)
    head = ["start (a, b)", "a at the end", "b at the end", "JS", "curvature, least", "curvature, most"]
    means = ["file", "G's weights", "coverage of 8", "sharp", "js"]
    return table(head, ends) + table([*means[:2], *(f"{m}, mean over the second half" for m in means[2:])], sharp)


if __name__ == "__main__":
    show(local_equilibrium, __doc__)
