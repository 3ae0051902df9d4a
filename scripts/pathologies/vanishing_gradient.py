"""The better D is, the less gradient the minimax loss gives G; the non-saturating and Wasserstein losses keep theirs.

Left: D learns, and G does not. G is untrained, and its samples are at (5, 0), 3 from the nearest mode of the ring. Thin
lines are three seeds, and a thick line is their median. Without a limit D becomes ever steeper, and the gradient of the
non-saturating loss grows with D's slope. With a limit it ends between 1 and 2. The limit is the penalty of WGAN-GP,
that of r1.py (here gamma = 1), or the spectral norm of sngan.py. Normal noise of sd 1 on D's inputs (Arjovsky & Bottou
2017, arXiv 1701.04862) keeps the gradient of the minimax loss alive as far as the noise reaches, which is about these 3
sd. Ten sd away it vanishes again: see mu = 10 on the right. The noise of diffusion_gan.py has many strengths.
Right: the data are N(0, 1) and the samples N(mu, 1), so the best D is known in closed form. The plot shows the
derivative of each loss in mu. That of the least squares loss vanishes, as that of the minimax loss does: the loss has
slope 2 where D = 0, but the best D itself is flat. On the left its gradient fades as D comes near its best. So the
least squares loss postpones the vanishing gradient, and does not prevent it. The hinge loss, here without the spectral
norm of sngan.py, has the slope 1 everywhere, but the best D is 1 or -1, so its derivative vanishes, too. The paired
loss is that of r3gan.py without its penalties. Its derivative is close to that of the non-saturating loss.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import gan, lsgan, nsgan, r1, r3gan, sngan, wgan_gp
from scripts.lib.stage import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, X, adam, each, learn, normal, ring, show
from scripts.lib.tables import table

LAMBDA, GAMMA = 10.0, 1.0  # of WGAN-GP; of R1, with its factor 1/2
LEARNED = {  # name: (the file of its losses and of its D, colour, line style)
    "minimax": (gan, RED, "-"),
    "non-saturating": (nsgan, BLUE, "-"),
    "least squares": (lsgan, ORANGE, "-"),
    "WGAN-GP": (wgan_gp, GREEN, "-"),
    "minimax, noise on D's inputs": (gan, RED, ":"),
    "non-saturating, R1": (r1, BLUE, "--"),
    "non-saturating, spectral norm": (sngan, BLUE, ":"),
}


def logit(mu: float) -> Tensor:
    """log p(x) / q(x) at each x of the line X, for the data p = N(0, 1) and the samples q = N(mu, 1)."""
    return mu * (mu / 2 - X)


OPTIMAL = {  # name: (G's loss, from D's output; D's best output on the line, from mu; colour, line style)
    "minimax": (gan.generator_loss, logit, RED, "-"),
    "non-saturating": (nsgan.generator_loss, logit, BLUE, "-"),
    "least squares": (lsgan.generator_loss, lambda mu: torch.sigmoid(logit(mu)), ORANGE, "-"),
    "WGAN-GP": (wgan_gp.generator_loss, lambda mu: -X, GREEN, "-"),
    "hinge": (partial(sngan.generator_loss, loss="hinge"), lambda mu: logit(mu).round(decimals=9).sign(), GREY, "--"),
    # only D(G(z)) - D(x) = -mu (G(z) - x) counts: here the line is that of G(z) - x, which is N(mu, 2)
    "paired": (lambda d: r3gan.generator_loss(torch.zeros_like(d), d), lambda mu: -mu * X, PURPLE, "-."),
}


def gradient_reaching_g(name: str, seed: int, checks: list[int]) -> list[float]:
    """The norm of the gradient in the weights of a frozen G, for each number of updates of D in `checks` (rising).

    G is untrained, and its samples are at (5, 0), 3 from the nearest mode of the ring.
    """
    torch.manual_seed(seed)
    module, noise = LEARNED[name][0], 1.0 if "noise" in name else 0.0
    data, G, D = ring(0.02), nsgan.Generator(2, (2,), 64), module.Discriminator((2,), 64)
    with torch.no_grad():
        G.net[-1].bias += torch.tensor([5.0, 0.0])
    d_opt, z_fixed, norms = adam(D), torch.randn(512, 2), []

    def noisy(x):
        return x + noise * torch.randn_like(x)

    for step in range(checks[-1] + 1):
        if step in checks:
            g_loss = module.generator_loss(D(noisy(G(z_fixed))))
            norms.append(nn.utils.get_total_norm(torch.autograd.grad(g_loss, [*G.parameters()])).item())
        real = data.sample(128).requires_grad_()  # for R1
        with torch.no_grad():
            fake = G(torch.randn(128, 2))
        if module is sngan:
            sngan.power_iteration(D)
        d_real, d_fake = D(noisy(real)), D(noisy(fake))
        d_loss = module.discriminator_loss(d_real, d_fake)
        if module is wgan_gp:
            d_loss = d_loss + LAMBDA * wgan_gp.gradient_penalty(D, real, fake)
        if module is r1:
            d_loss = d_loss + GAMMA / 2 * r1.gradient_penalty(real, d_real)
        learn(d_opt, d_loss)
    return norms


def gaussian_slope(name: str, mu: float) -> float:
    """The derivative of G's loss in mu for data N(0, 1) and samples N(mu, 1); D is at its best and held fixed."""
    mean = torch.tensor(mu, dtype=torch.float64, requires_grad=True)
    loss, best, *_ = OPTIMAL[name]
    value = (normal(mean, 2**0.5 if name == "paired" else 1.0) * each(loss, best(mu))).sum()
    return torch.autograd.grad(value, mean)[0].item()


def vanishing_gradient(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
    figure.set_size_inches(10, 5.4)
    left, right = figure.subplots(1, 2)
    rows, exact, mus, checks = [], [], torch.linspace(0.05, 10, 100).tolist(), [1, 5, 15, 50, 150, 500, 1500]
    for name, (_, colour, style) in LEARNED.items():
        runs = torch.tensor([gradient_reaching_g(name, seed, checks) for seed in (1, 2, 3)])
        left.plot(checks, runs.T, style, color=colour, linewidth=0.8, alpha=0.5)
        left.plot(checks, runs.median(0).values, style, color=colour, label=name)
        rows.append([name, *runs.median(0).values.tolist()])
    for name, (*_, colour, style) in OPTIMAL.items():
        label = None if name in LEARNED else f"{name} (right)"
        right.plot(mus, [abs(gaussian_slope(name, mu)) for mu in mus], style, color=colour, label=label)
        exact.append([name, *(abs(gaussian_slope(name, mu)) for mu in (0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0))])
    left.set(xscale="log", yscale="log", ylim=(1e-6, 1e2), xlabel="updates of D", ylabel="norm of G's gradient")
    left.set_title("a D that learns, a G that does not")
    right.set(xlabel="distance of G from the data, mu [sd]", ylabel="|slope in mu|", title="the best D, exactly")
    right.set(yscale="log", ylim=(1e-6, 1e2))
    figure.legend(loc="outside lower center", ncols=3)
    return table(["norm of G's gradient after updates of D:", *map(str, checks)], rows) + table(
        ["slope in mu with the best D, at mu =", "0.5", "1", "2", "4", "6", "8", "10"], exact
    )


if __name__ == "__main__":
    show(vanishing_gradient, __doc__)
