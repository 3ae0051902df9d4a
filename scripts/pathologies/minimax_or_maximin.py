"""Whether D answers G or G answers D decides if G keeps all modes: the two orders share a value, but not a generator.

The data have three modes, equally likely. D has a logit for each mode, and G a probability for each (q; p is that of
the data). In min_G max_D V, the minimax order, D answers each G with its best reply. This leads to q = p. In
max_D min_G V, the maximin order, G answers each D with its best reply: it puts all its mass on the mode that D likes
best, and jumps to the next one as D learns. Both orders have the value -log 4 = -1.386, because V is concave in D and
linear in q. In the table the maximin order ends a little below it, because the steps of D have a size. What differs is
the generator.
Gradient steps do not say which order they follow. Here they settle at q = p, but the more often G moves, the more often
its main mode jumps on the way. The G that always gives its best reply never settles: it has one mode at any time, and
all of them only on average.
Some notes print the maximin order as min_D max_G V. The last row is this game. G draws the mode that D likes least, and
D calls the data fake, or samples real. Nothing stops D, so V falls without end, and the game has no value.
"""

import math
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import gan
from scripts.lib.stage import GREY, ORANGE, RED, SKY, each, show
from scripts.lib.tables import table

P3 = torch.full((3,), 1 / 3, dtype=torch.float64)  # the data: three modes, equally likely


def value(d: Tensor, q: Tensor) -> Tensor:
    """V(D, G) = E log s(D(x)) + E log(1 - s(D(G(z)))), for D's logits d and G's probabilities q of the modes, [3]."""
    nothing = torch.zeros_like(d)  # the loss is a sum of one term for each side; a logit of 0 adds log 2
    real, fake = each(gan.discriminator_loss, d, nothing), each(gan.discriminator_loss, nothing, d)
    return 2 * math.log(2) - P3 @ real - q @ fake


def effective_modes(q: Tensor) -> float:
    """exp of the entropy of q: 3 if G draws all modes equally often, 1 if it draws only one."""
    return torch.special.entr(q).sum().exp().item()


def order_of_play(d_steps: int, g_steps: int, rounds: int, up: int = 1) -> tuple[Tensor, Tensor, float]:
    """G's probabilities after each round, and their mean, [rounds + 1, 3] each; and V at the end.

    A round is d_steps of gradient ascent on V for D's logits, then g_steps of descent for G's logits theta, of
    rate 0.1. 0 for one of them stands for infinitely many: the best reply, in closed form. With up = -1 D descends and
    G climbs, min_D max_G V; D then has no best reply.
    """
    d = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    q, path = torch.softmax(theta, 0), [torch.softmax(theta.detach(), 0)]
    for _ in range(rounds):
        for _ in range(d_steps):
            (slope,) = torch.autograd.grad(value(d, q.detach()), d)
            d = (d + up * 0.1 * slope).detach().requires_grad_()
        if not d_steps:
            d = (P3 / q).log().detach()  # D* = p_data / (p_data + p_g)
        for _ in range(g_steps):
            (slope,) = torch.autograd.grad(value(d.detach(), torch.softmax(theta, 0)), theta)
            theta = (theta - up * 0.1 * slope).detach().requires_grad_()
        q = (
            torch.softmax(theta, 0) if g_steps else nn.functional.one_hot((up * d).argmax(), 3).double()
        )  # all on D's favourite
        path.append(q.detach())
    path = torch.stack(path)
    return path, path.cumsum(0) / torch.arange(1, rounds + 2)[:, None], value(d, q).item()


def minimax_or_maximin(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
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
    orders += [
        ("maximin: 1 step of D, G's best reply", 1, 0, "black"),
        ("min_D max_G: 1 step of D, G's best reply", 1, 0, None),
    ]
    for name, d_steps, g_steps, colour in orders:
        path, mean, end = order_of_play(d_steps, g_steps, rounds, up=1 if colour else -1)
        if colour:
            triangle.plot(*(path @ corners).T, "-" if g_steps else "o", color=colour, linewidth=1.5)
        effective = [effective_modes(q) for q in path]
        if colour:
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


if __name__ == "__main__":
    show(minimax_or_maximin, __doc__)
