"""Which divergence each loss descends when D is at its best, and whether it charges for missing modes.

p is p_data and q is p_g: 300 random pairs of categorical distributions, in float64. D is at its optimum, in closed
form, and held fixed. error: the largest difference, in any component, between the gradient of G's loss and the gradient
of the divergence.
Most losses charge sum p phi(q / p), with phi(1) = phi'(1) = 0. "charge: missing" is phi per mass of data, where G makes
a thousandth of its share. "charge: too many" is phi per mass of samples, where G makes a thousand times its share.
Compare the two sides of one loss, not two losses: their scales are arbitrary.
The non-saturating loss, least squares and dual_d_selu.py charge little for missing modes. JS charges both sides alike.
Maximum likelihood charges most for missing modes. W1 is not of this kind: it charges mass times distance, and only a
critic whose slope is at most 1 gives it.
minibatch_discrimination.py has the row of a D that may use all of a batch, here of two samples, as pacgan.py's does.
unrolled.py, began.py, feature_matching.py and cramer.py have no row. unrolled.py descends the value of the game
together with D's answer to G. With K without end this is 2 JS, as the second table shows. began.py descends no
divergence: it holds the ratio of D's mean errors. In feature_matching.py and cramer.py G's loss is a distance of
features, which D's best answer leaves open: that of their means, and their energy distance.
"""

import importlib
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import d2gan, dfm, lsgan, mlegan, sngan, unrolled
from scripts.lib.stage import BLUE, GREY, ORANGE, PINK, PURPLE, RED, SKY, each, js, kl, show, w1
from scripts.lib.tables import table


def logit(p: Tensor, q: Tensor) -> list[Tensor]:
    return [(p / q).log()]


def both_logits(p: Tensor, q: Tensor) -> list[Tensor]:
    return logit(p, q) + logit(q, p)


def both_signs(p: Tensor, q: Tensor) -> list[Tensor]:
    return [(p - q).sign(), (q - p).sign()]


def equation_6(d1: Tensor, d2: Tensor) -> Tensor:
    """The other loss of G in the paper of dual_d_selu.py: E log(1 - s(D1)) + E log s(D2)."""
    return -F.softplus(d1).mean() - F.softplus(-d2).mean()


def hinge(d1: Tensor, d2: Tensor) -> Tensor:
    """G's loss if D1 and D2 minimise the hinge loss; their best outputs then are both_signs."""
    return d2.mean() - d1.mean()


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


ALPHA, BETA = 0.2, 0.1  # of D2GAN
NON_SATURATING = "KL(q, p) - 2 JS", lambda p, q: kl(q, p) - 2 * js(p, q)
MLE = mlegan.generator_loss
EXACT = [
    Exact("gan", "2 JS", lambda p, q: 2 * js(p, q), logit, colour=RED),
    Exact("nsgan", *NON_SATURATING, logit, colour=BLUE),
    Exact("dragan, without its penalty", *NON_SATURATING, logit),
    Exact("r1, without its penalty", *NON_SATURATING, logit),
    Exact("r3gan, without its penalties", "KL(q, p) - JS of pairs", of_pairs, logit, paired=True),
    Exact("sngan, without its norm", *NON_SATURATING, logit),
    Exact(
        "sngan, hinge, without its norm",
        "2 total variation",
        lambda p, q: (p - q).abs().sum(),
        lambda p, q: [(p - q).sign()],
        partial(sngan.generator_loss, loss="hinge"),
    ),
    Exact("diffusion_gan, one level of noise", *NON_SATURATING, logit),
    Exact("dfm, without its denoiser", *NON_SATURATING, logit, lambda d: dfm.generator_loss(d, d, d)),
    Exact("pacgan, m = 2", "KL(q, p) - 2 JS, of pairs", NON_SATURATING[1], logit, packs=2),
    Exact("minibatch_discrimination, batch of 2", "the same, of pairs", NON_SATURATING[1], logit, packs=2),
    Exact("lsgan", "f-divergence", least_squares, lambda p, q: [p / (p + q)], colour=ORANGE),
    Exact("wgan, slope 1 at most", "W1 on a line", w1, w1_critic),
    Exact("wgan_gp, slope 1 at most", "W1 on a line", w1, w1_critic),
    Exact("mlegan", "KL(p, q)", kl, logit, partial(MLE, max_logit=math.inf), colour=PINK),
    Exact("mlegan, max_logit 0", "KL(p, q), guarded", partial(guarded_kl, c=0), logit, partial(MLE, max_logit=0)),
    Exact("mlegan, max_logit 3", "KL(p, q), guarded", partial(guarded_kl, c=3), logit, partial(MLE, max_logit=3)),
    Exact(
        f"d2gan, {ALPHA} and {BETA}",
        f"{ALPHA} KL(p, q) + {BETA} KL(q, p)",
        lambda p, q: ALPHA * kl(p, q) + BETA * kl(q, p),
        lambda p, q: [inverse_softplus(ALPHA * p / q), inverse_softplus(BETA * q / p)],
        partial(d2gan.generator_loss, beta=BETA),
        PURPLE,
    ),
    Exact("dual_d_selu", "KL(q, p)", lambda p, q: kl(q, p), both_logits, colour=SKY),
    Exact("dual_d_selu, equation 6", "4 JS", lambda p, q: 4 * js(p, q), both_logits, equation_6),
    Exact("dual_d_selu, hinge", "4 total variation", lambda p, q: 2 * (p - q).abs().sum(), both_signs, hinge, GREY),
]
WITHOUT = {"began", "cramer", "feature_matching", "unrolled"}  # the files that have no row; the page says why


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


def findings(pairs: int) -> list[list]:
    """Statements of papers and notes, measured on random pairs: [statement, what was found]."""

    def chi_square(p, q):
        return ((p - q) ** 2 / (p + q)).sum()

    rows = {row.file: row for row in EXACT}
    zero_one = rows["lsgan"]._replace(divergence=chi_square)
    coding = zero_one._replace(optimal=lambda p, q: [(p - q) / (p + q)], loss=lambda d: lsgan.generator_loss(d, 0.0))
    two_d = rows["dual_d_selu"]
    one_d = two_d._replace(optimal=logit, loss=lambda d: -d.mean())  # its G minimises -logit
    errors, near = [], []
    for seed in range(pairs):
        p, theta = random_pair(seed)
        q = torch.softmax(theta, 0)
        identity = kl(q, p) - 2 * js(p, q) - 2 * kl((p + q) / 2, p)
        dual = gradients(one_d, p, theta)[0] - gradients(two_d, p, theta)[0]
        d, nothing = logit(p, q)[0], torch.zeros_like(p)  # D's best answer, which moves with G
        real, fake = each(unrolled.generator_loss, d, nothing), each(unrolled.generator_loss, nothing, d)
        (answered,) = torch.autograd.grad(p @ real + q @ fake - 2 * js(p, q), theta)
        errors.append([identity.abs().item(), dual.abs().max().item(), answered.abs().max().item()])
        close = (p.log() + 0.01 * theta.detach()).requires_grad_()
        both = (gradients(row, p, close) for row in (coding, zero_one))
        near.append([x for a, b in both for x in (a @ b / (a.norm() * b.norm()), a.norm() / b.norm())])
    identity, dual, answered = torch.tensor(errors).amax(0).tolist()
    cosine, norm, cosine01, norm01 = torch.tensor(near, dtype=torch.float64).mean(0).tolist()
    return [
        ["nsgan.py: KL(q, p) - 2 JS is 2 KL((p + q) / 2, p), so it is never negative: error", identity],
        ["lsgan.py, coding (-1, 1, 0), q near p: cosine between its gradient and that of its chi-square, mean", cosine],
        ["... norm of its gradient, relative to that of chi-square", norm],
        ["lsgan.py, coding 0-1, q near p: cosine", cosine01],
        ["... relative norm", norm01],
        ["dual_d_selu.py's gradient is that of -logit of one discriminator: error", dual],
        ["unrolled.py, with all of D's answer (K without end): its gradient is that of 2 JS: error", answered],
    ]


def exact_losses(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
    figure.set_size_inches(9, 6.4)
    axes, rows, edge = figure.subplots(), [], torch.tensor([1e-3, 1e3], dtype=torch.float64)
    r = torch.logspace(-3, 3, 241, dtype=torch.float64)
    for row in EXACT:
        both = [gradients(row, *random_pair(seed)) for seed in range(300)]
        error = max((a - b).abs().max().item() for a, b in both)
        charges = [""] * 3
        if row.packs == 1 and not row.paired and row.divergence is not w1:
            missing, too_many = charge(row, edge).tolist()
            charges = [missing, too_many, missing / too_many]
        rows.append([row.file, row.name, f"{error:.0e}", *charges])
        if row.colour:
            axes.plot(r, charge(row, r), color=row.colour, label=f"{row.file}: {row.name}")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(xscale="log", xlabel="p_g / p_data: missing (left), too many (right)")
    axes.set(ylabel="charge per mass, in the loss's units", title="what each loss charges for: compare left with right")
    figure.legend(loc="outside lower center", ncols=2)
    head = ["file", "descends", "error", "charge: missing", "charge: too many", "ratio"]
    found = [[what, f"{number:.4f}" if abs(number) > 1e-3 else f"{number:.0e}"] for what, number in findings(300)]
    return table(head, rows) + table(["", "found"], found)


if __name__ == "__main__":
    show(exact_losses, __doc__)
