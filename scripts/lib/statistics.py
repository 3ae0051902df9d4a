"""The numbers of many runs: means, intervals, differences and what they say of a claim.

`rows` are those of a suite's runs.csv: {"label": ..., "dataset": ..., "status": ..., "coverage": ..., ...}, as text.
"""

import sys

if __name__ == "__main__":
    print("this is a library; the commands are: python scripts/benchmark.py and scripts/report.py", file=sys.stderr)
    raise SystemExit(2)

import math
import statistics
from collections.abc import Iterable

POINT_COLUMNS = {"coverage": 1, "modes": 1, "high_quality": 2, "js": 3, "reverse_kl": 2, "w1": 2}  # digits
IMAGE_COLUMNS = {"modes": 0, "reverse_kl": 2, "fid": 2, "kid": 4, "is": 2, "precision": 2, "recall": 2}
IMAGE_COLUMNS |= {"missing": 1, "unsure": 2, "distance": 2, "duplicates": 3, "swd": 3}
MODES_OF_POINTS = {"ring": 8, "grid": 25}
MODES = MODES_OF_POINTS | {"stacked_mnist": 1000, "stacked_digits": 1000}
NOTHING = {"coverage": 0, "coverage_max": 0, "modes": 0, "high_quality": 0, "is": 1, "distance": 0}
SHARES = ("high_quality", "unsure", "duplicates", "precision", "recall")  # at most 1
CPUS = ("x86_64", "AMD64", "aarch64", "arm64")  # what environment() calls a device that is no GPU


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval by Student's t; the half width of one value is infinite."""
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        return values[0], math.inf
    return statistics.mean(values), float(stdtrit(n - 1, 0.975)) * statistics.stdev(values) / math.sqrt(n)


def difference(x: list[float], y: list[float]) -> tuple[float, float]:
    """Mean of x minus mean of y and half its 95 % interval by Welch's t: infinite if one has a single value."""
    from scipy.special import stdtrit

    mean = statistics.mean(x) - statistics.mean(y)
    if min(len(x), len(y)) < 2:
        return mean, math.inf
    parts = [(statistics.variance(values) / len(values), len(values) - 1) for values in (x, y)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return mean, 0.0
    freedom = variance**2 / sum(part**2 / n for part, n in parts)
    return mean, float(stdtrit(freedom, 0.975)) * math.sqrt(variance)


def verdict(mean: float, half: float, room: float = math.inf, published: tuple[float, float] | None = None) -> str:
    """What a difference mean +- half, positive as claimed, says of the claim.

    room: how far the other side is from the best value there is; published: a difference and its standard error.
    """
    if mean - half > 0:
        return "replicates"
    if mean + half < 0:
        return "does not: the opposite"
    if room <= 0:
        return "not shown: there is nothing to remedy"
    if published is not None:
        least = published[0] - 1.96 * published[1]
        if least > 0 and room >= published[0] and mean + half < least:
            return "does not: less than published"
    if half == 0:
        return "does not: no difference"
    return "not shown at this budget"


def values_of(rows: Iterable[dict], name: str) -> list[float]:
    """The numbers of a column of runs.csv.

    A diverged run counts as nothing covered (its distances are left out), one that failed for another reason not at
    all. Without a sharp sample reverse_kl has no value, and counts as if all were at one mode.
    """
    found = []
    for row in rows:
        number = row.get(name)
        if row["status"].startswith("diverged"):
            number = NOTHING.get(name)
        missing = number in (None, "") and not row["status"].startswith("failed")
        if missing and name == "reverse_kl" and row["dataset"] in MODES:
            number = math.log(MODES[row["dataset"]])
        if number not in (None, ""):
            found.append(float(number))
    return found


def columns_of(dataset: str) -> dict[str, int]:
    """The columns of a data set's tables and how many digits each shows."""
    return POINT_COLUMNS if dataset in MODES_OF_POINTS else IMAGE_COLUMNS


def cell(rows: list[dict], column: str) -> str:
    """`mean [low, high]` of a column, the interval cut at what is possible; `-` if there is no number."""
    values = values_of(rows, column)
    if not values:
        return "-"
    dataset = rows[0]["dataset"]
    digits = columns_of(dataset)[column]
    most = 1.0 if column in SHARES else MODES[dataset] if column in ("coverage", "modes") else math.inf
    mean, half = interval(values)
    low, high = max(mean - half, 0), min(mean + half, most)
    return f"{mean:.{digits}f}" + (f" [{low:.{digits}f}, {high:.{digits}f}]" if half < math.inf else "")


def where(rows: list[dict]) -> str:
    """What the runs ran on."""
    devices = sorted({row["device"] for row in rows if row.get("device")})
    return " or ".join("one CPU core" if device in CPUS else f"one {device}" for device in devices)
