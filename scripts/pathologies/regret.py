"""Where no player has regret, the averages of all moves solve a convex game, even while the moves themselves circle.

Player x wants V(x, y) large, and player y wants it small. Regret R(T) is what a player would have gained in T rounds by
the one best fixed move instead of its own moves. No regret means that R(T) / T goes to 0. Then the averages of all
moves are within (R1 + R2) / T of the game's value V*. Here V is linear in each move, and (R1 + R2) / T is the duality
gap of the averages: what x could still gain by another move, plus what y could.
In V = xy each player moves in [-1, 1], and V* = 0. In the matrix game [[2, -1], [-1, 1]] x is how often the first row
is played, and y how often the first column. V* is 1/5 there, at (2/5, 2/5).
The regularised leader makes the move that was best against all past moves together, less |x - start|^2 / (2 rate). This
is gradient ascent which sums all slopes and only then goes back into the interval ("lazy"). With a rate that falls as
1 / sqrt(t) its regret is at most a constant times sqrt(T) (after Zinkevich 2003), the dotted line. A constant rate has
no such promise, but here these players have no regret either. Their moves never settle, and only the averages do. With
the falling rate the moves come in as well.
Gradient steps that go back into the interval at once forget what was cut off. At a constant rate they keep a regret in
the matrix game, and so does the best reply to the last move. Their averages stay off. In V = xy symmetry saves both.
All of this needs a convex game. What is left of it in a GAN: local-equilibrium.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scripts.lib.stage import BLUE, GREY, ORANGE, RED, show
from scripts.lib.tables import table

RATE = 0.1


class Game(NamedTuple):
    """V(x, y) = a + b x + c y + d x y for x and y in [low, high]; x climbs it, and y descends it."""

    a: float
    b: float
    c: float
    d: float
    low: float
    high: float
    value: float  # V*
    start: float  # of both players

    def v(self, x: Tensor, y: Tensor) -> Tensor:
        return self.a + self.b * x + self.c * y + self.d * x * y

    def gap(self, x: Tensor, y: Tensor) -> Tensor:
        """The duality gap max V(., y) - min V(x, .) at points x and y [N], 0 at a solution: the best moves are ends."""
        (low_x, high_x), (low_y, high_y) = ([self.v(e, y) for e in self[4:6]], [self.v(x, e) for e in self[4:6]])
        return torch.maximum(low_x, high_x) - torch.minimum(low_y, high_y)


XY, MATRIX = Game(0, 0, 0, 1, -1, 1, 0, 0.5), Game(1, -2, -2, 5, 0, 1, 0.2, 0.9)
GAMES = {"V = xy": XY, "matrix game": MATRIX}
METHODS = {  # name: (the move of round t + 1 from the last one, its slope uphill and the sum of all slopes; colour)
    "best reply to the last move": (lambda game, t, now, slope, total: slope * 1e9, GREY),
    "gradient steps": (lambda game, t, now, slope, total: now + RATE * slope, ORANGE),
    "regularised leader": (lambda game, t, now, slope, total: game.start + RATE * total, RED),
    "regularised leader, rate / sqrt(t)": (
        lambda game, t, now, slope, total: game.start + RATE / (t + 1) ** 0.5 * total,
        BLUE,
    ),
}  # what lies outside the interval is brought back to its end


def play(game: Game, method: Callable, rounds: int) -> Tensor:
    """The moves (x, y) of two players who move at the same time, [2, rounds]."""
    players, totals, moves = [game.start] * 2, [0.0, 0.0], []
    for t in range(1, rounds + 1):
        moves.append(players)
        slopes = game.b + game.d * players[1], -game.c - game.d * players[0]
        totals = [total + slope for total, slope in zip(totals, slopes, strict=True)]
        wanted = [method(game, t, *state) for state in zip(players, slopes, totals, strict=True)]
        players = [min(max(move, game.low), game.high) for move in wanted]
    return torch.tensor(moves, dtype=torch.float64).T


def regrets(game: Game, x: Tensor, y: Tensor) -> Tensor:
    """R1(T) of x and R2(T) of y after each round T, [2, rounds]."""
    got, ends = game.v(x, y).cumsum(0), torch.tensor([[game.low], [game.high]], dtype=torch.float64)
    best_x, best_y = game.v(ends, y).cumsum(1).max(0).values, game.v(x, ends).cumsum(1).min(0).values
    return torch.stack([best_x - got, got - best_y])


def bound(game: Game, rounds: Tensor) -> Tensor:
    """R(T) <= sqrt(T) (far^2 / (2 rate) + rate steepest^2) for both players, if the rate falls as 1 / sqrt(t)."""
    far = max(game.high - game.start, game.start - game.low)
    steepest = max(abs(linear + game.d * end) for linear in (game.b, game.c) for end in (game.low, game.high))
    return rounds.sqrt() * (far**2 / (2 * RATE) + RATE * steepest**2)


def regret(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
    figure.set_size_inches(10, 7.6)
    panels, rows, rounds = figure.subplots(2, 2, sharex=True, sharey=True), [], torch.arange(1, 10_001).double()
    shown = torch.logspace(0, 4, 300).long().unique() - 1
    for (name, game), (whole, gaps) in zip(GAMES.items(), panels, strict=True):
        for how, (method, colour) in METHODS.items():
            x, y = play(game, method, len(rounds))
            means = [z.cumsum(0) / rounds for z in (x, y)]
            per_round, gap, last = regrets(game, x, y) / rounds, game.gap(*means), game.gap(x, y)
            whole.plot(rounds[shown], per_round.max(0).values[shown].clamp(min=1e-9), color=colour)
            gaps.plot(rounds[shown], gap[shown], color=colour, label=how if game is XY else None)
            recent = last.cumsum(0)  # the mean over the last half, as the moves pass the solution now and then
            recent = torch.stack([(recent[t] - recent[t // 2]) / (t - t // 2) for t in shown[1:]])
            gaps.plot(rounds[shown[1:]], recent, ":", color=colour)
            at = [v.item() for t in (100, 10_000) for v in (*per_round[:, t - 1], gap[t - 1])]
            rows.append([name, how, *at, abs(game.v(*means)[-1].item() - game.value), recent[-1].item()])
        whole.plot(rounds[shown], (bound(game, rounds) / rounds)[shown], ":", color="black")
        whole.set_title(f"{name}: R(T) / T, the larger of both")
        gaps.set_title(f"{name}: duality gap (dotted: of the last moves)")
    for axes in panels.flat:
        axes.set(xscale="log", yscale="log", xlim=(1, 1e4), ylim=(1e-4, 10))
    for axes in panels[1]:
        axes.set_xlabel("rounds T")
    figure.legend(loc="outside lower center", ncols=2)
    head = [f"{what}, T = {t}" for t in ("100", "10000") for what in ("R1 / T", "R2 / T", "gap of averages")]
    return table(["game", "moves", *head, "abs(V(averages) - V*)", "gap of moves, last half"], rows)


if __name__ == "__main__":
    show(regret, __doc__)
