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
together with D's answer to G. With K without end this is 2 JS (see loss-theorems). began.py descends no divergence: it
holds the ratio of D's mean errors. In feature_matching.py and cramer.py G's loss is a distance of features, which D's
best answer leaves open: that of their means, and their energy distance.
"""

import math
import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import d2gan, dfm, mlegan, sngan
from scripts.lib.exact import (
    Exact,
    both_logits,
    both_signs,
    charge,
    gradients,
    guarded_kl,
    inverse_softplus,
    least_squares,
    logit,
    of_pairs,
    random_pair,
    w1_critic,
)
from scripts.lib.stage import BLUE, GREY, ORANGE, PINK, PURPLE, RED, SKY, js, kl, show, w1
from scripts.lib.tables import table


def equation_6(d1: Tensor, d2: Tensor) -> Tensor:
    """The other loss of G in the paper of dual_d_selu.py: E log(1 - s(D1)) + E log s(D2)."""
    return -F.softplus(d1).mean() - F.softplus(-d2).mean()


def hinge(d1: Tensor, d2: Tensor) -> Tensor:
    """G's loss if D1 and D2 minimise the hinge loss; their best outputs then are both_signs."""
    return d2.mean() - d1.mean()


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
    return table(head, rows)


if __name__ == "__main__":
    show(exact_losses, __doc__)
