"""The measurements against hand-worked cases, closed forms and brute force."""

import itertools
import math

import pytest
import torch

from common.data import Cloud, Images, fixed_sample, load_data
from common.metrics import evaluate, mode_statistics, sliced_wasserstein, wasserstein

pytestmark = pytest.mark.exact_w1

SQUARE = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])


def test_three_standard_deviations_is_strict():
    at, within = torch.tensor([[3.0, 0.0]]), torch.tensor([[2.999, 0.0]])
    assert mode_statistics(at, SQUARE, 1.0)["modes"] == 0
    assert mode_statistics(within, SQUARE, 1.0)["modes"] == 1


def test_no_good_sample_is_null_and_not_perfect():
    numbers = mode_statistics(SQUARE + 4.9, SQUARE, std=1.0)
    assert numbers["reverse_kl"] is None and numbers["modes"] == 0 and numbers["high_quality"] == 0
    nothing = mode_statistics(torch.full((5, 2), math.nan), SQUARE, std=1.0)
    assert nothing["reverse_kl"] is None and nothing["high_quality"] == 0


@pytest.mark.parametrize(("name", "modes", "floor"), [("ring", 8, 0.0015), ("grid", 25, 0.0048)])
def test_exact_sampler(name, modes, floor):
    """3 sd in the plane hold 1 - exp(-4.5) = 98.89 %; reverse KL of n samples of K modes is near (K - 1) / 2n."""
    torch.manual_seed(0)
    data = load_data(name)
    numbers = [evaluate(data, data.sample(2500)) for _ in range(40)]
    mean = {key: sum(n[key] for n in numbers) / len(numbers) for key in numbers[0]}
    assert mean["coverage"] == mean["modes"] == modes
    assert mean["high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.002)
    assert mean["reverse_kl"] == pytest.approx(floor, rel=0.3)
    assert mean["js"] < floor


def test_wasserstein_equals_the_best_of_all_assignments():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 2, generator=generator), torch.randn(6, 2, generator=generator)
    cost = torch.cdist(x.double(), y.double())
    best = min(sum(cost[i, j] for i, j in enumerate(p)) / 6 for p in itertools.permutations(range(6)))
    assert wasserstein(x, y) == pytest.approx(best.item(), rel=1e-9)


def test_wasserstein_closed_forms():
    """A shift costs its length; on a line, the sorted samples are coupled; order does not matter."""
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    assert wasserstein(x, x.flip(0) + torch.tensor([3.0, 4.0])) == pytest.approx(5, rel=1e-6)
    line, other = torch.zeros(200, 2), torch.zeros(200, 2)
    line[:, 0], other[:, 0] = x[:, 0], x[:, 1].exp()
    expected = (line[:, 0].sort().values - other[:, 0].sort().values).abs().mean().item()
    assert wasserstein(line, other) == pytest.approx(expected, rel=1e-6)
    assert math.isnan(wasserstein(line, other * math.nan))


def test_sliced_wasserstein():
    """Zero for equal sets, scales with the samples; a shift v costs E |<v, direction>| = |v| 2 / pi in the plane."""
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    assert sliced_wasserstein(x, x.flip(0)) == pytest.approx(0, abs=1e-6)
    shifted = sliced_wasserstein(x, x + torch.tensor([3.0, 4.0]), directions=20000)
    assert shifted == pytest.approx(5 * 2 / math.pi, rel=0.02)
    y = torch.rand(500, 2, generator=torch.Generator().manual_seed(1))
    assert sliced_wasserstein(3 * x, 3 * y) == pytest.approx(3 * sliced_wasserstein(x, y), rel=1e-5)
    assert sliced_wasserstein(x, y) <= wasserstein(x, y)
    line = x * torch.tensor([1.0, 0.0])
    assert sliced_wasserstein(line, line.flip(1)) > 0.1  # across


def test_sliced_wasserstein_sees_collapse_and_noise():
    """Of images: one image repeated, and noise, are both farther from the data than other images of it."""
    generator = torch.Generator().manual_seed(0)
    bright = torch.rand(1000, 1, 1, 1, generator=generator).expand(1000, 1, 8, 8)  # plain images of any brightness
    real, other = bright[:500], bright[500:]
    collapsed, noise = other[:1].expand(500, 1, 8, 8), torch.rand(500, 1, 8, 8, generator=generator)
    near = sliced_wasserstein(real, other)
    assert sliced_wasserstein(real, collapsed) > 3 * near and sliced_wasserstein(real, noise) > 3 * near


def test_evaluate_is_repeatable_and_leaves_the_random_state():
    torch.manual_seed(0)
    data = load_data("ring")
    fake = data.sample(300)
    state = torch.get_rng_state()
    first, again = evaluate(data, fake, final=True), evaluate(data, fake, final=True)
    assert first == again and torch.equal(torch.get_rng_state(), state)
    assert 0 < first["w1"] < 0.5 and "w1" not in evaluate(data, fake)


def test_points_without_known_modes_are_measured_by_distances():
    torch.manual_seed(0)
    cloud = Cloud(torch.randn(500, 2))
    fake, exact = torch.zeros(300, 2), cloud.sample(300)
    numbers, best = evaluate(cloud, fake, final=True), evaluate(cloud, exact, final=True)
    real = fixed_sample(cloud, 300)
    assert numbers == {"swd": sliced_wasserstein(real, fake), "w1": wasserstein(real, fake)}
    assert best["swd"] < numbers["swd"] / 5 and best["w1"] < numbers["w1"] / 3
    assert numbers["w1"] == pytest.approx(real.norm(dim=1).mean().item(), rel=1e-5)  # all go to the one point


def test_images_are_measured_by_the_sliced_distance_alone():
    torch.manual_seed(0)
    images = Images(torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), torch.device("cpu"))
    fake = torch.zeros(50, 3, 16, 16)
    assert evaluate(images, fake, final=True) == {"swd": sliced_wasserstein(fixed_sample(images, 50), fake)}
