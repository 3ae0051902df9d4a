"""SELU units in D do not keep G's gradient: it vanishes as D gets better, whatever D's units are.

Zhang, Li & Yu 2018 (dual_d_selu.py), section 2.1, say that with SELU units in D "the gradient of our network will not
disappear when the best discriminator is obtained". Measured as in vanishing-gradient: D learns by the loss of gan.py,
and G does not. Its samples are at (5, 0), 3 from the nearest mode of the ring. All D have the same start, the one that
SELU needs, and differ in their units only. Thin lines are three seeds, thick lines their median.
Left: the gradient vanishes with SELU, too, and earlier than with ReLU, because D learns faster. Middle: set against D's
loss, SELU's line lies among the others. The gradient of the minimax loss at a sample is the sigmoid of D's output times
the slope of D, and the sigmoid goes to 0. At the best D nothing is left of the units at all: that D is
p_data / (p_data + p_g), and so depends on the two distributions only.
The paper's reason is that SELU brings features to mean 0 and variance 1, so that p_g and p_data overlap. Its first half
is true of untrained wide layers (right, exact): SELU of N(0, 1) has mean 0 and variance 1, and layers lead there from
elsewhere. But training leads away: the features of the last layer end with a standard deviation of about 2.7.
Its second half does not follow. Two distributions with one mean and variance need not overlap, and D's features do not
move G's samples: p_g is the same for all units here, and every D tells all samples from all data.
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import dual_d_selu, gan, nsgan
from scripts.lib.stage import BLUE, GREEN, ORANGE, RED, X, adam, learn, normal, ring, show
from scripts.lib.tables import table

UNITS = {"ReLU": (nn.ReLU(), BLUE), "leaky ReLU": (nn.LeakyReLU(0.2), ORANGE)}
UNITS |= {"tanh": (nn.Tanh(), GREEN), "SELU": (nn.SELU(), RED)}
CHECKS = [1, 5, 15, 50, 150, 500, 1500]  # updates of D
MEASURED = ["gradient", "D's loss", "right", "mean, data", "sd, data", "mean, samples", "sd, samples"]


def discriminator(name: str) -> nn.Module:
    """D2 of dual_d_selu.py, with its initial weights, and with these units in place of SELU."""
    D = dual_d_selu.Discriminator((2,), 64, selu=True)
    for layer in [*D.modules()]:
        for place, unit in [*layer.named_children()]:
            if isinstance(unit, nn.SELU):
                setattr(layer, place, UNITS[name][0])
    return D


def learning(name: str, seed: int, checks: list[int]) -> list[list[float]]:
    """The numbers of MEASURED after each number of updates of D in `checks` (rising): 512 data and 512 samples.

    gradient: its norm in the weights of G, which does not learn. right: the share that D judges rightly. mean, sd: of
    D's features in the last hidden layer, over all units.
    """
    torch.manual_seed(seed)
    data, G, D = ring(0.02), nsgan.Generator(2, (2,), 64), discriminator(name)
    with torch.no_grad():
        G.net[-1].bias += torch.tensor([5.0, 0.0])
    d_opt, real, z, rows = adam(D), data.sample(512), torch.randn(512, 2), []
    for step in range(checks[-1] + 1):
        if step in checks:
            fake = G(z)
            d_real, d_fake = D(real), D(fake)
            gradient = torch.autograd.grad(gan.generator_loss(d_fake), [*G.parameters()], retain_graph=True)
            right = ((d_real > 0).double().mean() + (d_fake < 0).double().mean()) / 2
            features = [number for x in (real, fake) for f in [D.net[:-1](x)] for number in (f.mean(), f.std())]
            numbers = [nn.utils.get_total_norm(gradient), gan.discriminator_loss(d_real, d_fake), right, *features]
            rows.append([number.item() for number in numbers])
        with torch.no_grad():
            fake = G(torch.randn(128, 2))
        learn(d_opt, gan.discriminator_loss(D(data.sample(128)), D(fake)))
    return rows


def moments(unit: nn.Module, second: float) -> tuple[float, float]:
    """E f(z) and E f(z)^2 of a unit f, for z ~ N(0, second)."""
    f, p = unit(X), normal(0.0, second**0.5)
    return (p @ f).item(), (p @ f**2).item()


def through_layers(unit: nn.Module, second: float, layers: int) -> list[float]:
    """E f^2 of the input and after each of these wide layers, whose weights are random, of variance 1 / inputs."""
    path = [second]
    for _ in range(layers):
        path.append(moments(unit, path[-1])[1])
    return path


def selu(figure: Figure) -> list[str]:
    """The lines of the tables; draws on the figure."""
    figure.set_size_inches(12, 4.9)
    over_time, over_loss, layers = figure.subplots(1, 3)
    gradients, ends, fixed = [], [], []
    for name, (unit, colour) in UNITS.items():
        runs = torch.tensor([learning(name, seed, CHECKS) for seed in (1, 2, 3)])  # [seed, check, MEASURED]
        gradient, loss = runs[..., 0], runs[..., 1]
        for axes, x in ((over_time, torch.tensor(CHECKS).repeat(3, 1)), (over_loss, loss)):
            axes.plot(x.T, gradient.T, color=colour, linewidth=0.8, alpha=0.5)
            axes.plot(x.median(0).values, gradient.median(0).values, color=colour, label=name)
        gradients.append([name, *gradient.median(0).values.tolist()])
        ends.append([name, *runs.median(0).values[-1, 1:].tolist()])
        paths = [through_layers(unit, second, 20) for second in (0.25, 4.0)]
        layers.plot(torch.tensor(paths).T, color=colour)
        mean, second = moments(unit, 1.0)
        fixed.append([name, f"{mean:.3f}", second - mean**2, *(path[at] for at in (3, 20) for path in paths)])
    over_time.set(xscale="log", yscale="log", ylim=(1e-5, 1), xlabel="updates of D", ylabel="norm of G's gradient")
    over_time.set_title("the gradient as D learns")
    over_loss.set(xscale="log", yscale="log", ylim=(1e-5, 1), xlabel="D's loss (right: a better D)")
    over_loss.set_title("the same, by how good D is")
    over_loss.invert_xaxis()
    layers.set(yscale="log", ylim=(1e-3, 10), xlim=(0, 20), xticks=[0, 5, 10, 15, 20], xlabel="untrained wide layers")
    layers.set_title("E f(z)^2, from 1/4 and from 4")
    handles, labels = over_time.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    head = [f"E f^2 after {n} layers, from {a}" for n in (3, 20) for a in ("1/4", "4")]
    return (
        table(["norm of G's gradient after updates of D:", *map(str, CHECKS)], gradients)
        + table([f"after {CHECKS[-1]} updates", *MEASURED[1:]], ends)
        + table(["untrained", "mean of f(N(0, 1))", "variance", *head], fixed)
    )


if __name__ == "__main__":
    show(selu, __doc__)
