"""In six runs modes are lost only where D is steep at the data; but no jump of its slope announces it.

Kodali et al. 2017 (dragan.py) suppose that mode collapse and sudden drops of quality are related to the norm of D's
gradient around the data, and penalise that norm. Here are whole runs of the files on the ring. Every 50 updates the
slope of D is measured: the root of the mean square of |grad D| at 500 data, always the same ones. Beside it are the
modes covered and the share of sharp samples.
For the supposition: D of nsgan.py becomes 20 times as steep as that of dragan.py or wgan_gp.py, which are asked for the
slope 1, and 100 times as steep or more than that of r1.py. Only nsgan.py loses modes here.
Against it: gan.py, whose D is as steep for a while, and half as steep to the end, keeps all modes. In the runs of
nsgan.py modes are lost and found again at nearly one slope. "steeper" is the probability that D is steeper before a
drop than elsewhere in the run, and "jump" that its slope grows more during a drop than otherwise. If there were no
relation, both would be 0.5. "jump" is close to it, and "steeper" is above it in one run, where modes are lost late and
the slope grows all the time. Sharp samples fall suddenly in all files, by more than 0.2 in 50 updates ("sudden"), also
where the slope stays at 1. So a limit to the slope goes with all modes kept, but the slope does not tell when one is
lost. These are six runs, with settings of an earlier search, with which nsgan.py loses modes.
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import dragan, gan, nsgan, r1, wgan_gp
from common.data import fixed_sample
from common.metrics import mode_statistics
from scripts.lib.inside import inside, updates
from scripts.lib.stage import BLUE, GREEN, ORANGE, PURPLE, RED, show
from scripts.lib.suites import earlier
from scripts.lib.tables import table

RUNS = [  # (file, seed, colour, line style)
    (nsgan, 41, BLUE, "-"),
    (nsgan, 42, BLUE, "--"),
    (gan, 41, RED, "-"),
    (dragan, 41, ORANGE, "-"),
    (r1, 41, PURPLE, "-"),
    (wgan_gp, 41, GREEN, "-"),
]


def slope(D: nn.Module, x: Tensor) -> float:
    """(E |grad_x D(x)|^2)^0.5 over samples x [N, 2], in units of D's output per unit of x."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(D(x).sum(), x)[0].square().sum(1).mean().sqrt().item()


def watched(module, seed: int, every: int = 50, **args) -> Tensor:
    """(updates, slope of D at the data, coverage, sharp) of a run of the file, every so many updates, [N, 4]."""
    local, rows = inside(module, seed=seed, **earlier(module) | args), []
    data, real = local["data"], fixed_sample(local["data"], 500)
    for step in updates(local):
        if step % every == 0:
            numbers = mode_statistics(local["G"](local["run"].z).detach(), data.modes, data.std)
            rows.append([step, slope(local["D"], real), numbers["coverage"], numbers["high_quality"]])
    return torch.tensor(rows, dtype=torch.float64)


def larger(a: Tensor, b: Tensor) -> float:
    """The probability that a number of `a` is larger than one of `b`, ties counted half: 0.5 if they are unrelated."""
    return ((a[:, None] > b).double() + (a[:, None] == b).double() / 2).mean().item()


def drops(run: Tensor) -> dict[str, float]:
    """How the drops of coverage in a run go with D's slope, once all eight modes were covered for the first time.

    drops: the pairs of neighbouring rows of which the second has fewer modes. slope before drops, before others: the
    median slope in the first row. steeper: the probability that the slope is larger before a drop than elsewhere.
    jump: the same of the slope's relative change. nan where there is no drop.
    """
    _, slopes, coverage, _ = run.T
    first = int((coverage == 8).double().argmax())
    before, after = slopes[first:-1], slopes[first + 1 :]
    dropped = coverage[first + 1 :] < coverage[first:-1]
    change = after / before
    return {
        "drops": dropped.sum().item(),
        "slope before drops": before[dropped].median().item() if dropped.any() else float("nan"),
        "slope elsewhere": before[~dropped].median().item(),
        "steeper": larger(before[dropped], before[~dropped]),
        "jump": larger(change[dropped], change[~dropped]),
    }


def gradient_norm(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
    figure.set_size_inches(10, 8.6)
    panels, rows = figure.subplots(3, 1, sharex=True), []
    for module, seed, colour, style in RUNS:
        name, run = f"{module.__name__.rpartition('.')[2]}.py, seed {seed}", watched(module, seed)
        for axes, numbers in zip(panels, run.T[1:], strict=True):
            axes.plot(run[:, 0], numbers, style, color=colour, label=name if axes is panels[0] else None)
        sudden = (run[:-1, 3] - run[1:, 3] > 0.2).sum().item()
        found = {what: "" if number != number else number for what, number in drops(run).items()}
        rows.append([name, run[:, 1].max().item(), *run[-1, 1:].tolist(), sudden, *found.values()])
    panels[0].set(yscale="log", title="slope of D at the data")
    panels[1].set(ylim=(0, 8.3), title="modes covered of 8")
    panels[2].set(ylim=(0, 1), xlabel="updates", title="share of sharp samples")
    figure.legend(loc="outside lower center", ncols=3)
    return table(["run", "largest slope", "slope at the end", "coverage", "sharp", "sudden", *found], rows)


if __name__ == "__main__":
    show(gradient_norm, __doc__)
