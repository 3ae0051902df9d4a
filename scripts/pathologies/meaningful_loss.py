"""D's loss falls with the distance to the data all along if D is a critic with five updates to one of G, and else not.

Arjovsky et al. 2017 show curves in which the loss of the critic falls as the samples get better, and call this a reason
to use wgan.py. At its best a critic of slope 1 has E D(x) - E D(G(z)) = W1, and the best D of nsgan.py and gan.py has
the loss log 4 - 2 JS. So each D gives an estimate of a distance. Here are runs of the files on the ring, and beside
that estimate, the mean of 50 updates, the exact W1 of 500 samples.
With five updates of the critic the two fall together: nearly every time that one is lower, so is the other. They do
not end at one number. W1 of 500 samples is not 0 for an exact sampler either (last row), the clip of wgan.py allows any
scale, and no critic is quite at its best. With one update of the critic, which is enough to learn the ring, the
estimate begins below zero and is large when G has just come near: it tells nothing until the end, when both settle.
For nsgan.py and gan.py it rises while the samples improve. D gets better at its task at that time, and JS hardly
depends on how near the samples are where they do not yet overlap with the data (see divergences).
"rank correlation" is Spearman's: 1 if the estimate always falls when W1 does, 0 if they are unrelated. The two numbers
are of two runs, with seeds on which no setting was chosen; two runs are a picture, not a measurement.
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from algos import gan, nsgan, wgan, wgan_gp
from common.data import fixed_sample, load_data
from common.metrics import wasserstein
from scripts.lib.inside import inside, updates
from scripts.lib.stage import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, show
from scripts.lib.suites import earlier
from scripts.lib.tables import table

UPDATES, EVERY, SEEDS = 2000, 50, (41, 42)
RUNS = {  # name: file, its settings, what D estimates with its loss, colour
    "wgan_gp.py, one update of D": (wgan_gp, earlier(wgan_gp), "W1", GREEN),
    "wgan_gp.py, five updates of D": (wgan_gp, earlier(wgan_gp) | {"d_steps": 5}, "W1", BLUE),
    "wgan.py, five updates of D": (wgan, {"lr": 2e-3, "clip": 0.1, "d_steps": 5}, "W1", PURPLE),
    "nsgan.py": (nsgan, earlier(nsgan), "2 JS", RED),
    "gan.py": (gan, earlier(gan), "2 JS", ORANGE),
}


def estimate(numbers: dict[str, Tensor], kind: str) -> float:
    """What D's loss says of the distance of samples and data. W1: E D(x) - E D(G(z)), in units of D's slope.

    2 JS = log 4 - d_loss, in nats: with the best D the cross entropy d_loss is log 4 - 2 JS (Goodfellow et al. 2014).
    """
    if kind == "W1":
        return (numbers["d_real"].mean() - numbers["d_fake"].mean()).item()
    return (torch.tensor(4.0).log() - numbers["d_loss"]).item()


def watched(module, settings: dict, kind: str, seed: int, steps: int = UPDATES, every: int = EVERY) -> Tensor:
    """(updates, D's estimate, exact W1 of 500 samples) of a run on the ring, every so many updates, [N, 3].

    The estimate is the mean over these updates, as that of one batch is noisy.
    """
    local, kept, rows = inside(module, seed=seed, **settings | {"steps": steps}), [], []
    update, real = local["update"], fixed_sample(local["data"], 500)
    local["update"] = lambda: kept.append(estimate(update(), kind))
    for step in updates(local):
        if step % every == 0:
            with torch.no_grad():
                fake = local["G"](local["run"].z[:500])
            rows.append([step, sum(kept[-every:]) / every, wasserstein(real, fake)])
    return torch.tensor(rows, dtype=torch.float64)


def meaningful_loss(figure: Figure) -> list[str]:
    """The lines of the table; draws on the figure."""
    figure.set_size_inches(12, 4.4)
    axes, rows = figure.subplots(1, len(RUNS)), []
    for ax, (name, (module, settings, kind, colour)) in zip(axes, RUNS.items(), strict=True):
        runs = [watched(module, settings, kind, seed) for seed in SEEDS]
        ranks = [spearmanr(run[:, 1], run[:, 2]).statistic for run in runs]
        late = [spearmanr(*run[len(run) // 2 :, 1:].T).statistic for run in runs]
        last = runs[0][-10:, 1:].mean(0)
        rows.append([name, kind, *(", ".join(f"{r:.2f}" for r in these) for these in (ranks, late)), *last.tolist()])
        ax.plot(runs[0][:, 0], runs[0][:, 2], color=GREY, label="W1, exactly" if ax is axes[0] else None)
        other = ax.twinx()
        other.plot(runs[0][:, 0], runs[0][:, 1], color=colour)
        other.set_ylabel(f"{kind}, by D" if ax is axes[-1] else "")
        other.spines["right"].set_visible(True)
        ax.set(ylim=(0, None), xlabel="updates", title=name.replace(", ", ",\n"))
    figure.legend(loc="outside lower center")
    torch.manual_seed(0)
    data = load_data("ring")
    exact = [wasserstein(data.sample(500), data.sample(500)) for _ in range(20)]
    rows.append(["an exact sampler", "", "", "", "", sum(exact) / len(exact)])
    head = ["run", "D estimates", "rank correlation with W1", "in the second half", "its estimate at the end"]
    return table([*head, "W1 at the end"], rows)


if __name__ == "__main__":
    show(meaningful_loss, __doc__)
