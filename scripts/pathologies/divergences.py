"""Far from the data JS is flat at log 2 and W1 is not; KL(p, q) spreads q over all modes, KL(q, p) picks one.

p is the distribution of the data, and q that of the generated samples. Upper plots: p = N(0, 1) and q = N(mu, 1). They
show each divergence of q from p, and its slope in mu. This slope is all the gradient that a generator gets if it
descends the divergence. Both KL are mu^2 / 2 here. The slope of JS vanishes as mu grows, so a generator far from the
data learns nothing: this is the vanishing gradient.
Lower left: what each divergence charges at each x, for q = N(2, 1). KL(p, q) is the integral of p log(p / q). This is
near 0 where p is, though q is not: bad samples cost nothing there. KL(q, p) charges q log(q / p) for them, and JS up to
q log(2) / 2. Where q is near 0 and p is not, it is KL(q, p) that charges nothing. The charge of a KL may be below 0 at
an x, though not in sum; that of JS is nowhere.
Lower right: the data have two modes, and q is the normal distribution that is best by each divergence. KL(p, q) pays
where p has mass and q has none, and so covers both modes and all between; KL(q, p) pays where q has mass and p has
none, and so drops a mode for no more than log 2.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scripts.lib.stage import GREEN, GREY, PINK, RED, SKY, STEP, X, js, kl, normal, show, w1
from scripts.lib.tables import table

DIVERGENCES = {  # name: (function, colour, line style)
    "KL(p, q)": (kl, PINK, "-"),
    "KL(q, p)": (lambda p, q: kl(q, p), SKY, "--"),
    "JS": (js, RED, "-."),
    "W1": (lambda p, q: w1(p, q, STEP), GREEN, ":"),
}


INTEGRANDS = {  # of KL and JS: what each charges at a cell of probabilities p and q; W1 is no such sum
    "KL(p, q)": lambda p, q: torch.xlogy(p, p / q),
    "KL(q, p)": lambda p, q: torch.xlogy(q, q / p),
    "JS": lambda p, q: (torch.xlogy(p, 2 * p / (p + q)) + torch.xlogy(q, 2 * q / (p + q))) / 2,
}


def with_slope(divergence: Callable, mu: float) -> tuple[float, float]:
    """divergence(N(0, 1), N(mu, 1)) and its derivative in mu."""
    mean = torch.tensor(mu, dtype=torch.float64, requires_grad=True)
    value = divergence(normal(0.0), normal(mean))
    return value.item(), torch.autograd.grad(value, mean)[0].item()


def best_normal(divergence: Callable, p: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the normal distribution q with the least divergence from p."""
    from scipy.optimize import minimize

    def objective(theta):
        return divergence(p, normal(theta[0], math.exp(theta[1]))).item()

    fits = [
        minimize(objective, [mean, math.log(sd)], method="Nelder-Mead", tol=1e-9)
        for mean in (0.5, 4.0)
        for sd in (1.0, 4.0)
    ]
    best = min(fits, key=lambda fit: fit.fun)
    return best.x[0], math.exp(best.x[1])


def divergences(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
    mus = torch.linspace(0.05, 10, 60).tolist()
    two_modes = (normal(-4.0) + normal(4.0)) / 2
    figure.set_size_inches(11, 8)
    values, slopes, points, fits = figure.subplots(2, 2).flat
    rows, charges = [], []
    p, q, at = normal(0.0), normal(2.0), torch.tensor([2200, 2400, 2800, 3000])  # x = -3, -1, ...
    points.fill_between(X, p / STEP, color="#dddddd", label="p, the data")
    points.plot(X, q / STEP, color=GREY, linewidth=1, label="q, the samples")
    pointwise = [["p", *(p[at] / STEP).tolist()], ["q", *(q[at] / STEP).tolist()]]
    for name, integrand in INTEGRANDS.items():
        charge = integrand(p, q) / STEP
        points.plot(X, charge, DIVERGENCES[name][2], color=DIVERGENCES[name][1])
        pointwise.append([name, *charge[at].tolist()])
    points.set(
        xlabel="x", ylabel="charge per unit of x", xlim=(-4, 6), ylim=(-0.25, 1.75), title="what is charged where"
    )
    points.legend(loc="upper center")
    fits.fill_between(X, two_modes / STEP, color="#dddddd", label="p, the data")
    for name, (divergence, colour, style) in DIVERGENCES.items():
        curve = [with_slope(divergence, mu) for mu in mus]
        values.plot(mus, [value for value, _ in curve], style, color=colour, label=name)
        slopes.plot(mus, [slope for _, slope in curve], style, color=colour)
        rows.append([name, *(x for mu in (1.0, 2.0, 4.0, 8.0) for x in with_slope(divergence, mu))])
        mean, sd = (round(x, 2) for x in best_normal(divergence, two_modes))
        one_mode, all_between = (divergence(two_modes, q).item() for q in (normal(4.0), normal(0.0, math.sqrt(17))))
        charges.append([name, one_mode, all_between, abs(mean), sd])
        fits.plot(X, normal(mean, sd) / STEP, style, color=colour, label=f"best q by {name}")
    values.axhline(math.log(2), color=RED, linewidth=1, linestyle=":")
    values.set(xlabel="mean of q, mu", ylabel="divergence [nats]; W1 [units of x]", ylim=(0, 6), title="value")
    slopes.set(xlabel="mean of q, mu", ylabel="slope in mu", yscale="log", ylim=(1e-7, 30), title="gradient")
    fits.set(xlabel="x", ylabel="density", xlim=(-14, 14), title="one Gaussian for two modes")
    values.legend(loc="center right", bbox_to_anchor=(1, 0.45))
    fits.legend(loc="upper left", fontsize=10)
    head = ["divergence", *(f"{what} at mu = {mu}" for mu in (1, 2, 4, 8) for what in ("value", "slope"))]
    head2 = ["p has modes at -4 and 4", "charge for q = N(4, 1): a mode is missing"]
    head2 += ["for q = N(0, 17): samples between the modes", "best q: abs(mean)", "best q: sd"]
    head3 = ["per unit of x, for q = N(2, 1)", *(f"x = {x}" for x in (-3, -1, 3, 5))]
    return table(head, rows) + table(head3, pointwise) + table(head2, charges)


if __name__ == "__main__":
    show(divergences, __doc__)
