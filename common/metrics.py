"""Measurements that need no downloaded weights: modes of points, distances between samples."""

import math

import torch
from torch import Tensor

from common.data import fixed_sample


def evaluate(data, fake: Tensor, final: bool = False) -> dict[str, float | None]:
    """Measures samples `fake` [n, *data.shape] against the data; equal samples always give equal numbers.

    Points with known modes: `mode_statistics`. Others: swd, the sliced Wasserstein distance to n real samples. Points,
    with `final`: also w1, the exact 1-Wasserstein distance from the first 1,000 to as many real ones. Neither is zero
    for a perfect generator, as samples differ: evaluate(data, data.sample(n)) is what an exact sampler scores.
    """
    real = fixed_sample(data, len(fake))
    if hasattr(data, "modes"):
        numbers = mode_statistics(fake, data.modes, data.std)
    else:
        numbers = {"swd": sliced_wasserstein(real, fake)}
    return numbers | {"w1": wasserstein(real[:1000], fake[:1000])} if final and data.shape == (2,) else numbers


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances [n, m] of points [n, d] and [m, d], without the rounding of a matrix product (TF32)."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def mode_statistics(points: Tensor, modes: Tensor, std: float) -> dict[str, float | None]:
    """How points [n, 2] spread over a mixture of equal Gaussians with means modes [K, 2] and deviation std.

    Every point belongs to the nearest mode. How evenly, however blurred:
      coverage      modes that are nearest to at least 10 % of their fair share n / K
      js            Jensen-Shannon divergence of these shares from uniform, in nats (at most log 2)
    How sharply, as in PacGAN (Lin et al. 2018, arXiv 1712.04086, table 1):
      high_quality  share of points within 3 std of their mode: 1 - exp(-4.5) = 0.9889 for an exact sampler
      modes         modes with at least one such point
      reverse_kl    KL from the shares of such points to uniform, in nats; None if there is no such point
    """
    distance, nearest = distances(points, modes).min(dim=1)
    share = torch.bincount(nearest, minlength=len(modes)).double() / len(points)
    good = distance < 3 * std
    hits = torch.bincount(nearest[good], minlength=len(modes)).double()
    uniform = torch.full_like(share, 1 / len(modes))

    def kl(p: Tensor, q: Tensor) -> float:
        return torch.special.xlogy(p, p / q).sum().item()

    middle = (share + uniform) / 2
    return {
        "coverage": (share >= 0.1 / len(modes)).sum().item(),
        "js": (kl(share, middle) + kl(uniform, middle)) / 2,
        "high_quality": good.double().mean().item(),
        "modes": (hits > 0).sum().item(),
        "reverse_kl": kl(hits / hits.sum(), uniform) if hits.sum() > 0 else None,
    }


def wasserstein(x: Tensor, y: Tensor) -> float:
    """W1(P, Q) = inf over couplings of E |x - y|, exactly, between two equally large samples [n, d].

    With equal weights one of the best couplings is a one-to-one assignment. O(n^3): 0.5 s for n = 1,000.
    """
    from scipy.optimize import linear_sum_assignment

    cost = distances(x.double(), y.double()).cpu().numpy()
    return float(cost[linear_sum_assignment(cost)].mean()) if math.isfinite(cost.sum()) else math.nan


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 256) -> float:
    """W1 between the projections of two equally large samples [n, ...] to a line, mean over random lines.

    On a line, sorting both samples couples them best (Rabin et al. 2011). All calls use the same lines. In the units of
    x: for images, pixel values in [-1, 1] along a direction of length 1.
    """
    x, y = x.flatten(1), y.flatten(1)
    direction = torch.randn(x.shape[1], directions, generator=torch.Generator().manual_seed(0)).to(x)
    direction /= direction.norm(dim=0)
    return ((x @ direction).sort(dim=0).values - (y @ direction).sort(dim=0).values).abs().mean().item()
