"""What papers, notes and official code have wrong, and for each the check that shows it: mind these when you copy.

Each row is one deviation. "there" is what the check finds with what is written there, and "right" what it finds with
what theory, or the paper of the same name, has. Lines of code are those of the repositories in 2026. "notes" are
lecture notes and articles on how GANs fail.
Zhang, Li & Yu 2018: equation 5 has log(-D) of a D in (0, 1), which is no real number; equations 7 to 10 want -log D
(see loss-theorems). Table 1 gives the data and seven GANs the scores in the README of chainer-gan-lib, digit for digit.
That README says that it is no faithful re-implementation, and has two GANs more. Both have more than the mean of the
new one, 7.47.
Rings: the ends of a full turn are one point. So eight steps make seven modes, one with twice the mass, and nine make
eight. In the code of D2GAN 0.02 is meant as the standard deviation of a mode, but is taken as the variance.
Notes on maximum likelihood: the generator descends E f(x) grad log p_g(x) over x ~ p_g. For this to be the gradient of
KL(p_data, p_g), f has to be -p_data / p_g. With the + of the notes it climbs. Equation 10 there, min over D of max over
G, has no bound: D calls all data fake, and nothing stops it. The text means max over D of min over G.
Averages: the notes find the solution of the game xy "by simply averaging the iterates". This needs a rate that falls,
or players who alternate.
The code of DRAGAN disturbs the data upwards only; the paper has N(0, c). That of WGAN clips before D's step, so G meets
weights beyond c; algorithm 1 clips after it. That of R1 has no 1/2. Another halves the loss, but not the penalty.
Minibatch discrimination: G's loss in the code is the minimax loss, which is flat where D wins. Feature matching: the
code has the mean of absolute differences, the paper squares. The gradient of the former is as large near the goal as
far away. The critic of the Cramer GAN lacks h(x'), and can give a gap of 0 to distributions that differ.
"""

import math
import sys
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import cramer, dragan, feature_matching, gan, mlegan, nsgan, r1, wgan
from common.data import load_data
from scripts.lib.stage import BLUE, GREEN, GREY, ORANGE, RED, each, kl, show
from scripts.lib.tables import table
from scripts.pathologies import minimax_or_maximin, oscillation

# Inception Scores: (table 1 of Zhang, Li & Yu 2018, the README of chainer-gan-lib); None: not in the table
SCORES = {"real data": (12.00, 12.0), "WGAN-GP": (6.80, 6.8), "DFM": (7.30, 7.3), "Cramer": (6.40, 6.4)}
SCORES |= {"DRAGAN": (7.10, 7.1), "DCGAN": (6.70, 6.7), "minibatch disc.": (7.00, 7.0), "BEGAN": (5.40, 5.4)}
SCORES |= {"SN-DCGAN": (None, 7.5), "Progressive": (None, 8.5)}
MEAN_OF_5 = 7.47  # of the new GAN, in the same table; its best run has 7.65


def ring_of(n: int) -> Tensor:
    """Modes at linspace(0, 2 pi, n), as in the notebook of the unrolled GAN (n = 8) and in LSGAN's (n = 9), [n, 2]."""
    angle = torch.linspace(0, math.tau, n, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], 1)


def distinct(modes: Tensor) -> int:
    """The number of places that modes [n, 2] are at."""
    return len(modes.round(decimals=6).add(0.0).unique(dim=0))


# of five cells: the probabilities p, and the logits of q
P5, THETA5 = torch.tensor([[0.4, 0.3, 0.1, 0.1, 0.1], [0.0, 0.5, 1.0, 0.0, -1.0]], dtype=torch.float64)


def likelihood_gradients(n: int = 100_000) -> tuple[Tensor, Tensor, Tensor]:
    """In the logits of q [5]: that of KL(p, q); E f grad log q, f = p / q, over n samples of q; that of mlegan.py."""
    theta = THETA5.clone().requires_grad_()
    q = torch.softmax(theta, 0)
    (wanted,) = torch.autograd.grad(kl(P5, q), theta, retain_graph=True)
    x = torch.multinomial(q.detach(), n, True, generator=torch.Generator().manual_seed(1))
    (printed,) = torch.autograd.grad((P5 / q.detach() * q.log())[x].mean(), theta, retain_graph=True)
    loss = q @ each(partial(mlegan.generator_loss, max_logit=math.inf), (P5 / q.detach()).log())
    return wanted, printed, torch.autograd.grad(loss, theta)[0]


def slope_at(loss, d: float) -> float:
    """|d loss / d D| where D's logit at a generated sample is d."""
    logit = torch.tensor([d], dtype=torch.float64)
    return torch.func.grad(loss)(logit).abs().item()


def nearer(loss) -> float:
    """The gradient where all means of features [4] differ by 0.1, relative to that where they differ by 1."""
    far, near = (torch.func.grad(loss, 1)(torch.zeros(4), torch.full((4,), gap)).norm() for gap in (1.0, 0.1))
    return (near / far).item()


def cramer_gap(corrected: int) -> float:
    """E f(x) - E f(g) for h(x) = -1 or 1, equally likely, and all h(g) = 0: exactly, over all x and x'."""
    x, other = torch.tensor([[-1.0, 1.0, -1.0, 1.0], [-1.0, -1.0, 1.0, 1.0]], dtype=torch.float64)[:, :, None]
    g = torch.zeros_like(x)
    f = partial(cramer.critic, h_fake=g, h_real=other if corrected else g)
    return -cramer.discriminator_loss(f(x), f(g)).item() + 0.0


def one_sided_noise(x: Tensor) -> Tensor:
    """What the DRAGAN notebook adds to samples x [B, d]: alpha 0.5 sd(x) U[0, 1), one alpha of [0, 1) for a sample."""
    return torch.rand(len(x), 1) * 0.5 * x.std() * torch.rand_like(x)


def largest_weight(before: bool, steps: int = 100) -> float:
    """The largest |weight| / c of a critic in G's step, if it is clipped before its own RMSProp steps, or after."""
    torch.manual_seed(1)
    c = 0.01
    D, data = wgan.Discriminator((2,), 64), load_data("ring")
    d_opt = torch.optim.RMSprop(D.parameters(), lr=5e-5)
    for _ in range(steps):
        if before:
            wgan.clip_weights(D, c)
        d_opt.zero_grad()
        wgan.discriminator_loss(D(data.sample(64)), D(torch.randn(64, 2))).backward()
        d_opt.step()
        if not before:
            wgan.clip_weights(D, c)
    return max(p.abs().max().item() for p in D.parameters()) / c


def pull(penalty, loss: float = 1.0) -> float:
    """The slope of penalty(E |grad D|^2) at D(x) = x, as a multiple of loss times that of the paper's with gamma 10."""
    psi, x = torch.ones(1, requires_grad=True), torch.linspace(-1, 1, 64)[:, None].requires_grad_()
    square = r1.gradient_penalty(x, (x * psi)[:, 0])
    return (torch.autograd.grad(penalty(square), psi)[0] / (loss * 10 / 2 * 2 * psi)).item()


def checks() -> list[list]:
    """[where, what is there, the check, what it finds there, what is right]."""
    torch.manual_seed(1)
    d, x, z = torch.linspace(0.01, 0.99, 99), torch.randn(100_000, 2), torch.zeros(3).double()
    real = [logs.isfinite().double().mean().item() for logs in ((-d).log(), -d.log())]
    differ = sum(paper != readme for paper, readme in SCORES.values() if paper)
    above = min(readme for paper, readme in SCORES.values() if not paper) - MEAN_OF_5
    wanted, *both = likelihood_gradients()
    alike = [torch.cosine_similarity(gradient, wanted, 0).item() for gradient in both]
    v = [minimax_or_maximin.value(logits, minimax_or_maximin.P3).item() for logits in (z - 100, z)]
    average = [oscillation.averages(oscillation.play(rule, 10_000))[-1].norm().item() for rule, *_ in RULES.values()]
    noise = [round((y / x.std()).mean().item(), 3) + 0.0 for y in (one_sided_noise(x), dragan.perturb(x, 0.01) - x)]
    slopes = [slope_at(module.generator_loss, -10.0) for module in (gan, nsgan)]
    near = [nearer(loss) for loss in (lambda a, b: (a - b).abs().mean(), feature_matching.generator_loss)]
    return [
        ["Zhang, Li & Yu 2018, equation 5", "log(-D1(G(z)))", "share of D in (0, 1) where it is real", *real],
        ["..., table 1", "scores of 7 GANs and the data", "scores that differ from the README's", differ, ""],
        ["", "2 GANs left out", "the lower score, above the mean of the new GAN", above, ""],
        ["unrolled_gan, notebook, cell 7", "linspace(0, 2 pi, 8)", "places of modes", distinct(ring_of(8)), 8],
        ["LSGAN, ls.py:21", "the same with 9", "places of modes", distinct(ring_of(9)), 9],
        ["D2GAN, main.py:29", "sd as covariance", "sd of a mode", (0.02**0.5 * x[:, 0]).std().item(), 0.02],
        ["notes, MLE", "f = p / q", "cosine with grad KL(p, q)", *alike],
        ["notes, equation 10", "min_D max_G", "V, all logits -100; maximin, all 0", *v],
        ["notes, DRAGAN", "average the iterates", "abs(average) after 10,000 steps; falling rate", *average[::2]],
        ["DRAGAN, notebook, cell 1", "alpha 0.5 sd U[0, 1)", "mean of the noise, in sd", *noise],
        ["WassersteinGAN, main.py:185", "clip, then step", "largest weight / c", *map(largest_weight, (True, False))],
        ["GAN_stability, train.py:53", "no 1/2", "gamma / reg_param", pull(lambda s: 10 * s), 1],
        ["gans-pytorch, vanilla_gan_loss.py:56", "half of the loss", "gamma / theirs", pull(lambda s: 5 * s, 0.5), 1],
        ["improved-gan, minibatch disc., :106", "log(1 - D)", "slope of G's loss at logit -10", *slopes],
        ["improved-gan, feature matching, :112", "mean of abs", "gradient, where the gap is a tenth", *near],
        ["Bellemare et al. 2017, the critic", "no h(x')", "gap for h(x) = -1 or 1, h(g) = 0", *map(cramer_gap, (0, 1))],
    ]


# of the averages: (rule of the game xy, colour)
RULES = {"constant rate": (oscillation.simultaneous, RED), "alternating": (oscillation.alternating, BLUE)}
RULES |= {"rate / sqrt(t)": (oscillation.falling(oscillation.simultaneous), GREEN)}


def errors_in_print(figure: Figure) -> list[str]:
    """The lines of the table; draws on the figure."""
    figure.set_size_inches(12, 7.6)
    ring, scores, sign, mean, slope, noise = figure.subplots(2, 3).flat
    ring.plot(*load_data("ring").modes.T / 2, "o", color=GREY, markersize=16, fillstyle="none", label="8 modes")
    ring.plot(*ring_of(8).T, "o", color=RED, label="linspace(0, 2 pi, 8)")
    ring.annotate("twice", (1, 0), xytext=(0.3, -0.06))
    ring.set(aspect="equal", xlim=(-1.3, 1.3), ylim=(-1.3, 2.0), title="the ring of unrolled_gan")
    ring.axis("off")
    ring.legend(loc="upper center")
    for row, (paper, readme) in enumerate(SCORES.values()):
        scores.plot(readme, -row, "o", color=GREY, markersize=12, fillstyle="none")
        scores.plot(paper or math.nan, -row, "o", color=BLUE, markersize=6)
    scores.axvline(MEAN_OF_5, color=ORANGE, linestyle="--")
    scores.set(
        yticks=range(0, -10, -1), yticklabels=SCORES, xlabel="Inception Score", title="circles: README; dots: table 1"
    )
    looks = (("grad KL", GREY, -0.25), ("p / q", RED, 0.25), ("-p / q", GREEN, 0))
    for gradient, (label, colour, shift) in zip(likelihood_gradients(), looks, strict=True):
        sign.bar((torch.arange(5) + shift).numpy(), gradient.numpy(), 0.25, color=colour, label=label)
    sign.set(xlabel="logit of q", title="the sign in the notes on MLE", ylim=(-0.35, 0.6))
    sign.legend(loc="upper right")
    for name, (rule, colour) in RULES.items():
        mean.plot(oscillation.averages(oscillation.play(rule, 1500)).norm(dim=1), color=colour, label=name)
    mean.set(ylim=(0, 4.6), xlabel="step", title="|average| of the game xy")
    mean.legend(loc="upper center")
    logits = torch.linspace(-10, 4, 57).tolist()
    for module, colour, label in ((gan, RED, "log(1 - D), there"), (nsgan, GREEN, "-log D")):
        slope.plot(logits, [slope_at(module.generator_loss, d) for d in logits], color=colour, label=label)
    slope.set(xlabel="logit of a sample", ylabel="|slope| of G's loss", ylim=(0, 1.5), title="minibatch discrimination")
    slope.legend(loc="upper right")
    x = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(1))
    for y, colour, label in ((one_sided_noise(x), RED, "there"), (dragan.perturb(x, 0.01) - x, GREEN, "N(0, 0.01)")):
        noise.hist(y[:, 0].numpy(), 80, range=(-0.4, 0.6), density=True, color=colour, alpha=0.6, label=label)
    noise.set(xlabel="noise [sd of the data]", ylabel="density", title="what DRAGAN adds to the data")
    noise.legend(loc="upper right")
    return table(["where", "what is there", "check", "there", "right"], checks())


if __name__ == "__main__":
    show(errors_in_print, __doc__)
