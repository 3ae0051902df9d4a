"""In packs of samples, a generator that drops a mode is easier to detect than one that is a little wrong everywhere.

Both generators are at total variation 0.2 from the data (uniform on [0, 1]), so they are equally bad for one sample at
a time. A D that sees packs of m samples can tell the total variation of the m-fold products (Lin et al. 2018, arXiv
1712.04086). Dropping a mode is then as visible as any generator at 0.2 can be: 1 - 0.8^m. So the loss of a packed D
charges for dropped modes. Dots: 2 accuracy - 1 of pacgan.py's discriminator, trained on packs.
"""

import math
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import pacgan
from scripts.lib.stage import BLUE, GREY, RED, adam, learn, show
from scripts.lib.tables import table

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
    """2 accuracy - 1 of pacgan.py's discriminator on fresh packs of m: above the total variation only by chance."""
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
    """The lines of the tables; draws on the figure."""
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


if __name__ == "__main__":
    show(packing, __doc__)
