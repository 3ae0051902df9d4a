"""What is exact of losses when D is at its best: its outputs, the divergences, gradients, charges. In float64.

p is p_data and q is p_g: probabilities of K cells, [K].
"""

import importlib
import math
from collections.abc import Callable
from typing import NamedTuple

if __name__ == "__main__":
    raise SystemExit("this is a library; a command that uses it is: python scripts/pathologies/exact_losses.py")

import numpy
import torch
from torch import Tensor

from scripts.lib.stage import each, kl


def logit(p: Tensor, q: Tensor) -> list[Tensor]:
    return [(p / q).log()]


def both_logits(p: Tensor, q: Tensor) -> list[Tensor]:
    return logit(p, q) + logit(q, p)


def both_signs(p: Tensor, q: Tensor) -> list[Tensor]:
    return [(p - q).sign(), (q - p).sign()]


def inverse_softplus(x: Tensor) -> Tensor:
    return x + torch.log(-torch.expm1(-x))


def w1_critic(p: Tensor, q: Tensor) -> list[Tensor]:
    """The best critic of slope 1 on a line of cells: it rises where mass must move up."""
    slopes = (q - p).cumsum(0)[:-1].sign()
    return [torch.cat([torch.zeros(1, dtype=p.dtype), slopes.cumsum(0)])]


def least_squares(p: Tensor, q: Tensor) -> Tensor:
    """sum p phi(q / p) with the convex phi(r) = r - 2 log(1 + r) - 1 / (1 + r) + 2 log 2 - 1/2."""
    r = q / p
    return (p * (r - 2 * (1 + r).log() - 1 / (1 + r) + 2 * math.log(2) - 0.5)).sum()


def of_pairs(p: Tensor, q: Tensor) -> Tensor:
    """KL(q, p) - JS(p q, q p), a real and a generated sample in both orders: KL((p q + q p) / 2, p p), never < 0."""
    both = torch.outer(p, q) + torch.outer(q, p)
    return kl(both.flatten() / 2, torch.outer(p, p).flatten())


def guarded_kl(p: Tensor, q: Tensor, c: float) -> Tensor:
    """KL(p, q) where q is above p / e^c; below, the charge grows to no more than c + 2, not to infinity."""
    r, r0 = q / p, math.exp(-c)
    below = c - math.exp(c) * ((2 - c) * (r - r0) - (r * r.log() + r0 * c))
    return (p * torch.where(r > r0, -r.log(), below)).sum()


class Exact(NamedTuple):
    """What G's loss in a file descends while D is at its best and held fixed. p is p_data and q is p_g, [K]."""

    file: str  # of algos/, and after a comma a setting or an assumption
    name: str  # of the divergence
    divergence: Callable
    optimal: Callable  # D's best outputs for p and q, one [K] for each discriminator
    loss: Callable | None = None  # of G, from D's outputs; None: the generator_loss of the file
    colour: str | None = None  # of its curve in the figure; None: it is there already, or depends on more than q / p
    packs: int = 1  # p and q are those of so many samples at once
    paired: bool = False  # the loss is of D's outputs at a real and at a generated sample

    def g_loss(self, *outputs: Tensor) -> Tensor:
        return (self.loss or importlib.import_module(f"algos.{self.file.split(',')[0]}").generator_loss)(*outputs)


def random_pair(seed: int) -> tuple[Tensor, Tensor]:
    """Two random categorical distributions on 2 to 31 cells: p, and the logits of q, which need a gradient."""
    generator = torch.Generator().manual_seed(seed)
    scale = (0.1, 1.0, 3.0)[seed % 3]
    p, theta = scale * torch.randn(2, 2 + seed % 30, generator=generator, dtype=torch.float64)
    return torch.softmax(p, 0), theta.requires_grad_()


def gradients(row: Exact, p: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients in the logits theta of q of G's loss, with D at its best and held fixed, and of the divergence."""
    q = torch.softmax(theta, 0)
    for _ in range(row.packs - 1):
        p, q = torch.outer(p, p).flatten(), torch.outer(q, q).flatten()
    outputs, weight = row.optimal(p, q.detach()), q
    if row.paired:
        outputs, weight = torch.meshgrid(*outputs * 2, indexing="ij"), torch.outer(p, q)
    value = (weight.flatten() * each(row.g_loss, *(d.flatten() for d in outputs))).sum()
    (of_loss,) = torch.autograd.grad(value, theta, retain_graph=True)
    return of_loss, torch.autograd.grad(row.divergence(p, q), theta)[0]


def charge(row: Exact, r: Tensor) -> Tensor:
    """What a loss that depends on r = q / p alone charges where q is r times p, [N], for r [N].

    It descends the f-divergence sum p phi(r) with phi'(r) = h(r) - h(1), h G's loss at D's best output for r. Where
    r < 1 this is phi(r), per mass of data that G misses; where r > 1 phi(r) / r, per mass of samples too many.
    """
    u, w = (torch.from_numpy(x) for x in numpy.polynomial.legendre.leggauss(200))
    log_s = r.log()[:, None] * (1 + u) / 2  # from 1 to r, in steps even in log s
    s = log_s.exp()

    def h(s):
        return each(row.g_loss, *row.optimal(torch.ones_like(s), s))

    slopes = h(s.flatten()).view_as(s) - h(torch.ones(1, dtype=r.dtype))
    phi = (slopes * s * w).sum(1) * r.log() / 2
    return torch.where(r < 1, phi, phi / r)
