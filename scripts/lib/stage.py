"""What the demonstrations of scripts/pathologies/ share: colours, helpers, and the page that each of them writes.

A demonstration draws on an empty figure and returns the lines of its tables. The docstring of its file is the text of
its page. The losses, penalties and networks are imported from algos/. All is exact (float64) but what is trained:
vanishing-gradient, collapse-to-a-point, the dots of packing, packing-figure and the critics of optimal-transport.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this is a library; a command that uses it is: python scripts/pathologies/dirac.py")

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from common.data import Points, load_data
from scripts.lib.command import command
from scripts.lib.headers import ROOT

ORANGE, BLUE, GREEN, RED, SKY, PINK = "#e69f00", "#0072b2", "#009e73", "#d55e00", "#56b4e9", "#cc79a7"
PURPLE, GREY = "#6a3d9a", "#777777"  # a loss and its divergence have one colour in all figures
STYLE = {"font.size": 12, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
STYLE |= {"lines.linewidth": 2, "axes.titlesize": 12, "figure.dpi": 120}


@dataclass
class Args:
    out: str = "results/pathologies"
    """folder for the page and the figure, relative to the repository's root"""


def show(demonstration: Callable[[Figure], list[str]], doc: str) -> None:
    """The command of a demonstration: makes its page. doc: the docstring of its file."""
    torch.set_num_threads(1)  # small operations: more threads only wait for each other
    command(lambda args: write(demonstration, doc, ROOT / args.out), Args, doc)


def write(demonstration: Callable[[Figure], list[str]], doc: str, out: Path) -> None:
    """Prints the text and the numbers, writes them with the figure to out/<name>.md and .png, and prints where."""
    name = demonstration.__name__.replace("_", "-")
    with matplotlib.rc_context(STYLE):
        figure = Figure(layout="constrained")
        numbers = "\n".join(demonstration(figure)).strip()
        out.mkdir(parents=True, exist_ok=True)
        figure.savefig(out / f"{name}.png")
    what, _, text = doc.strip().partition("\n\n")
    page = [f"# {name}", f"**{what}**", f"![{name}]({name}.png)", text, numbers]
    page.append(f"Made by `python scripts/pathologies/{demonstration.__name__}.py`.\n")
    (out / f"{name}.md").write_text("\n\n".join(page))
    print(f"# {name}: {what}", text, numbers, f"wrote {out / name}.md and .png", sep="\n\n")


def each(loss: Callable, *outputs: Tensor) -> Tensor:
    """The loss of each of the outputs [N] by itself, [N]: the losses in algos/ are means over a batch."""
    return torch.vmap(lambda *d: loss(*(x[None] for x in d)))(*outputs)


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p, q) = sum p log(p / q), in nats, of probabilities [K]; often written KL(p || q)."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()


def js(p: Tensor, q: Tensor) -> Tensor:
    """The Jensen-Shannon divergence of probabilities [K], in nats."""
    return (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2


def w1(p: Tensor, q: Tensor, step: float = 1.0) -> Tensor:
    """The 1-Wasserstein distance of distributions on a line of cells, each `step` from the next."""
    return (p - q).cumsum(0).abs().sum() * step


STEP = 0.01
X = torch.arange(-25, 25 + STEP / 2, STEP, dtype=torch.float64)  # a line of cells


def normal(mean: float | Tensor, sd: float | Tensor = 1.0) -> Tensor:
    """The probability that N(mean, sd^2) gives to each cell of the line X."""
    return (-(((X - mean) / sd) ** 2) / 2).exp() * STEP / (sd * math.sqrt(2 * math.pi))


def ring(sd: float) -> Points:
    """The ring of eight modes that algos/ learn, with modes of this standard deviation."""
    return Points(load_data("ring").modes, sd)


def adam(module: nn.Module, lr: float = 1e-3) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=lr, betas=(0.5, 0.999))


def learn(opt: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of an optimiser down a loss, for its own parameters only."""
    opt.zero_grad()
    loss.backward(inputs=opt.param_groups[0]["params"])
    opt.step()
