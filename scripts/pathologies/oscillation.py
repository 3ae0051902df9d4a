"""In the game V = xy, gradient steps circle the equilibrium or leave it; looking ahead or a penalty leads to it.

Player x climbs V and player y descends it. They start at (1, 1) with rate 0.1, and the equilibrium is (0, 0). Each
simultaneous step multiplies the distance by (1 + 0.01)^0.5. Alternating steps stay on an ellipse.
An article says that "a solution can be found by averaging the iterates". This is true under a condition: the average
goes to (0, 0) if the steps alternate, or if their rate falls as 1 / sqrt(t). With simultaneous steps of constant rate
the average grows, too, in the end.
Following the regularised leader is the same as simultaneous steps if the regulariser is fixed. If the regulariser grows
as sqrt(t), the points themselves come in, slowly and swinging.
farthest: the largest distance in the second half of these steps. average: the distance of the mean of all points so
far. factor: the number by which one step multiplies the distance, measured over the last nine tenths of the steps, and
in closed form.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scripts.lib.stage import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, show
from scripts.lib.tables import table


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
    """The lines of the tables; draws on the figure."""
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


if __name__ == "__main__":
    show(oscillation, __doc__)
