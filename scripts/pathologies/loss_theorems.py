"""What a paper proves of its loss holds with -log D for its log(-D): theorems on G's loss at the best D, as numbers.

All is measured on 300 random pairs of categorical distributions, p of the data and q of the samples. An error is the
largest difference. D is at its best, and held fixed where a gradient is meant.
Zhang, Li & Yu 2018 (the paper of dual_d_selu.py): proposition 1, theorem 2 and equation 7 hold as they are. Equation 5,
the paper's loss, has log(-D), which is no real number. Equations 9 and 10 and theorem 3 hold if -log D1 stands for it
at samples, and log(1 - D2), as in equation 6, at the data. With -log D in both places equation 10 is off, and J at
q = p is 0, not -2 log 2. G's gradient is the same with either. But D1 itself cannot maximise this J: it has no bound,
as D1 goes to 0 where q > p. So both D learn by equation 6.
Equation 9 calls E_p log D1 a constant. This is so while D is held fixed. If D is always at its best it moves with G,
and equation 10 has another gradient than KL(q, p), but the same minimum. D2 is there to cancel the "-2 JS" of the
non-saturating loss. But KL(q, p) - 2 JS is never negative, and one D suffices for KL(q, p): its -logit as G's loss.
Least squares with the coding (-1, 1, 0): J at the best D is a chi-square, but G, which sees D held fixed, does not
descend it. Near p its gradient is small, and as often uphill as down. With the coding 0-1 it points down. In the right
plot lines are means, and dots are single pairs.
"""

import math
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import lsgan, unrolled
from scripts.lib.stage import BLUE, GREEN, GREY, ORANGE, RED, SKY, each, js, kl, show
from scripts.lib.tables import table
from scripts.pathologies.exact_losses import EXACT, Exact, gradients, logit, random_pair


def chi_square(p: Tensor, q: Tensor) -> Tensor:
    """Pearson's chi-square of p + q from 2 q: the value of least squares with the coding (-1, 1, 0) at the best D."""
    return ((p - q) ** 2 / (p + q)).sum()


ROWS = {row.file: row for row in EXACT}
ZERO_ONE = ROWS["lsgan"]._replace(divergence=chi_square)
CODING = ZERO_ONE._replace(optimal=lambda p, q: [(p - q) / (p + q)], loss=lambda d: lsgan.generator_loss(d, 0.0))


def equation_6(p: Tensor, q: Tensor) -> Tensor:
    """J with log(1 - D1) at samples and log(1 - D2) at the data, at the best D1 and D2, of probabilities [K]."""
    d1, d2 = p / (p + q), q / (p + q)
    return p @ d1.log() + q @ (1 - d1).log() + p @ (1 - d2).log() + q @ d2.log()


def equation_5(p: Tensor, q: Tensor, both: bool = False) -> Tensor:
    """J with -log D1 at samples; the data's term of D2 is that of equation 6, or also -log D2."""
    d1, d2 = p / (p + q), q / (p + q)
    return p @ d1.log() - q @ d1.log() + p @ (-d2.log() if both else (1 - d2).log()) + q @ d2.log()


def equation_10(p: Tensor, q: Tensor) -> Tensor:
    """KL(q, p) + 2 E_p log D1*."""
    return kl(q, p) + 2 * p @ (p / (p + q)).log()


def theorems(pairs: int) -> list[list]:
    """Propositions and equations of Zhang, Li & Yu 2018 on random pairs: [statement, what was found]."""
    errors, moved = [], []
    for seed in range(pairs):
        p, theta = random_pair(seed)
        q = torch.softmax(theta, 0)
        d1 = p / (p + q)
        on_fakes = -2 * math.log(2) + 2 * js(p, q) - p @ d1.log()  # E_q log(1 - D1)
        checks = [
            p / d1 - q / (1 - d1),
            equation_6(p, q) - (4 * js(p, q) - 4 * math.log(2)),
            q @ (1 - d1).log() - q @ d1.log() - kl(q, p),
            q @ (1 - d1).log() - on_fakes,
            -q @ d1.log() - (p @ d1.log() + kl(q, p) - 2 * js(p, q) + 2 * math.log(2)),
            equation_5(p, q) - equation_10(p, q),
            equation_5(p, q, both=True) - equation_10(p, q),
            equation_5(p, q, both=True) - kl(p, q) - kl(q, p),
        ]
        errors.append(torch.stack([x.abs().max() for x in checks]).detach())
        fixed, through = (
            torch.autograd.grad(f(p, q), theta, retain_graph=True)[0] for f in (lambda p, q: kl(q, p), equation_10)
        )
        moved.append(((through - fixed).norm() / fixed.norm()).item())
    worst = torch.stack(errors).amax(0).tolist()
    own = 0.3 * math.log(1e-10) - 0.7 * math.log(1e-10)
    p = random_pair(0)[0]
    least = [f(p, p).item() for f in (equation_6, equation_5, lambda p, q: equation_5(p, q, both=True))]
    return [
        ["proposition 1, D1* = p / (p + q): slope of V in D1 there", worst[0]],
        ["theorem 2: J of equation 6 at q = p, -4 log 2 = -2.7726", least[0]],
        ["... J of equation 6 is 4 JS - 4 log 2: error", worst[1]],
        ["equation 7, KL(q, p) = E_q log(1 - D1) - E_q log D1: error", worst[2]],
        ["equation 8, as 9 needs it, E_p log D1 + E_q log(1 - D1) = 2 JS - 2 log 2: error", worst[3]],
        ["equation 9, with -log D1: error", worst[4]],
        ["equation 10, -log D1 at samples only: error", worst[5]],
        ["... -log D2 at the data, too: error", worst[6]],
        ["... this is KL(p, q) + KL(q, p): error", worst[7]],
        ["theorem 3: J at q = p, -2 log 2 = -1.3863", least[1]],
        ["... -log D2 at the data, too", least[2]],
        ["equation 5 as D1's own: E_p log D1 - E_q log D1, p = (0.3, 0.7), q = (0.7, 0.3), D1 = (1e-10, 1)", own],
        [
            "equation 10, if D moves with G: relative difference of its gradient from that of KL(q, p), largest",
            max(moved),
        ],
    ]


def findings(pairs: int) -> list[list]:
    """Statements of papers and notes, measured on random pairs: [statement, what was found]."""
    two_d = ROWS["dual_d_selu"]
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
        both = (gradients(row, p, close) for row in (CODING, ZERO_ONE))
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


def cosines_near(row: Exact, eps: float, pairs: int) -> list[float]:
    """The cosines of a loss's gradient with that of chi-square, for q of logits log p + eps theta."""
    cosines = []
    for seed in range(pairs):
        p, theta = random_pair(seed)
        a, b = gradients(row, p, (p.log() + eps * theta.detach()).requires_grad_())
        cosines.append((a @ b / (a.norm() * b.norm())).item())
    return cosines


def loss_theorems(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
    figure.set_size_inches(11, 4.6)
    values, cosines = figure.subplots(1, 2)
    p, first = torch.tensor([0.3, 0.7], dtype=torch.float64), torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    qs = torch.stack([first, 1 - first], 1)
    curves = [("equation 6", equation_6, RED, "-"), ("equation 5, -log D1", equation_5, SKY, "-")]
    curves += [
        ("equation 10", equation_10, BLUE, ":"),
        ("equation 5, -log D2 too", lambda p, q: equation_5(p, q, True), ORANGE, "-"),
    ]
    for name, function, colour, style in curves:
        values.plot(first, [function(p, q) for q in qs], style, color=colour, label=name)
    values.axvline(0.3, color=GREY, linewidth=1, linestyle="--")
    values.set(xlabel="q of the first of two cells; p is 0.3", ylabel="J at the best D1 and D2", ylim=(-3, 3.4))
    values.set_title("Zhang, Li & Yu 2018")
    values.legend(loc="upper center")
    distances = [0.01, 0.03, 0.1, 0.3, 1.0]
    for name, row, colour in (("coding (-1, 1, 0)", CODING, ORANGE), ("coding 0-1", ZERO_ONE, GREEN)):
        found = torch.tensor([cosines_near(row, eps, 60) for eps in distances])
        cosines.plot(distances, found, ".", color=colour, markersize=3, alpha=0.4)
        cosines.plot(distances, found.mean(1), color=colour, label=name)
    cosines.set(xscale="log", xlabel="distance of q from p, in logits", ylabel="cosine with grad chi-square")
    cosines.set(ylim=(-1.5, 1.1), yticks=[-1, -0.5, 0, 0.5, 1], title="least squares")
    cosines.legend(loc="lower right")
    tables = [(["Zhang, Li & Yu 2018", "found"], theorems(300)), (["other statements", "found"], findings(300))]
    return [
        line
        for head, rows in tables
        for line in table(head, [[what, f"{x:.4f}" if abs(x) > 1e-3 else f"{x:.0e}"] for what, x in rows])
    ]


if __name__ == "__main__":
    show(loss_theorems, __doc__)
