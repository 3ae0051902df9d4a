"""Of many runs, rows of runs.csv: which of them succeed, intervals, and what two samples of runs say of each other."""

if __name__ == "__main__":
    raise SystemExit("this is a library; the commands are: python scripts/benchmark.py and scripts/report.py")

import math
import statistics
from collections.abc import Iterable
from functools import cache

import numpy as np
from scipy import stats

POINT_COLUMNS = {"coverage": 1, "modes": 1, "high_quality": 2, "js": 3, "reverse_kl": 2, "w1": 2}  # digits
IMAGE_COLUMNS = {"modes": 0, "sure_modes": 0, "reverse_kl": 2, "fid": 2, "kid": 4, "is": 2, "precision": 2}
IMAGE_COLUMNS |= {"recall": 2, "missing": 1, "unsure": 2, "distance": 2, "duplicates": 3, "swd": 3}
MODES_OF_POINTS = {"ring": 8, "grid": 25}
MODES = MODES_OF_POINTS | {"stacked_mnist": 1000, "stacked_digits": 1000}
GOAL = {"digits": 2.0, "mnist": 4.0}  # fid
NOTHING = {"coverage": 0, "coverage_max": 0, "modes": 0, "sure_modes": 0, "high_quality": 0, "is": 1, "distance": 0}
LOOKS, BLOCK = 6, 5  # seeds come in blocks of five; after each, up to thirty, a comparison may be decided


def success(row: dict) -> bool | None:
    """Whether a run, a row of runs.csv, did what it was for; None: it did not run to its end, or there is no goal.

    Points: all modes covered, half of the samples sharp. Stacked images: nine tenths of the 1,000 modes, a classifier
    unsure of at most half of the samples. Other images: fid at most GOAL, no class missing.
    """
    dataset = row["dataset"]
    if dataset not in MODES | GOAL or row["status"].startswith("failed"):
        return None  # such as by a full disk
    if row["status"] != "finished":
        return False  # it diverged
    if dataset in MODES_OF_POINTS:
        return float(row["coverage"]) == MODES[dataset] and float(row["high_quality"]) >= 0.5
    if dataset in MODES:
        return float(row["modes"]) >= 0.9 * MODES[dataset] and float(row["unsure"]) <= 0.5
    return float(row["fid"]) <= GOAL[dataset] and float(row["missing"]) == 0


@cache
def rate(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval (Clopper & Pearson 1934) of the rate of success, of which k of n runs are a sample."""
    low, high = stats.binomtest(k, n).proportion_ci(level, method="exact")
    return float(low), float(high)


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and its 95 % interval by the bootstrap (BCa, Efron 1987; 9,999 samples of a fixed seed).

    It has no width where all values agree: these say nothing of their spread. Of five normal values it holds the mean
    in 85 of 100 cases, of ten in 90: no verdict is read off it.
    """
    mean = statistics.mean(values)
    if len({*values}) == 1:
        return mean, mean, mean
    found = stats.bootstrap((values,), np.mean, method="BCa", random_state=np.random.default_rng(0))
    return mean, *map(float, found.confidence_interval)


barnard = cache(lambda successes_and_failures: float(stats.barnard_exact(successes_and_failures, n=128).pvalue))


@cache
def permutation(x: tuple[float, ...], y: tuple[float, ...]) -> float:
    """The p of a permutation test of means; several tables ask for the same one."""
    how = {"vectorized": True, "n_resamples": 9999, "random_state": np.random.default_rng(0)}
    return float(stats.permutation_test((x, y), lambda a, b, axis: a.mean(axis) - b.mean(axis), **how).pvalue)


def p_value(x: list[float], y: list[float]) -> float:
    """The two-sided p of no difference between two independent samples, the same if they change sides.

    Of means: a permutation test, exact up to 9,999 assignments to the sides, else of 9,999 drawn with a fixed seed. Of
    rates (all values 0 or 1): Barnard's exact test. Fisher's also holds the total of successes fixed, which no design
    here does, and needs more seeds for it: 5 of 5 against 1 of 5 has p 0.02 by Barnard's, 0.05 by Fisher's.
    """
    x, y = sorted([sorted(x), sorted(y)])
    if x[0] == x[-1] == y[0] == y[-1]:
        return 1.0
    if {*x, *y} <= {0, 1}:
        return barnard(((int(sum(x)), int(sum(y))), (x.count(0), y.count(0))))
    return permutation(tuple(x), tuple(y))


def limits(x: list[float], y: list[float], level: float = 0.9) -> tuple[float, float]:
    """The interval of a difference of means, x - y, at which two one-sided tests of (1 - level) / 2 end.

    Of means: Welch's t; infinite where neither side has a spread. Of rates: the exact intervals of both, put together
    by squares (Zou & Donner 2008): for 10 of 10 against 10 of 10, -0.26 to 0.26 at 90 %.
    """
    if {*x, *y} <= {0, 1}:
        (px, lx, ux), (py, ly, uy) = ((sum(v) / len(v), *rate(int(sum(v)), len(v), level)) for v in (x, y))
        return px - py - math.hypot(px - lx, uy - py), px - py + math.hypot(ux - px, py - ly)
    if min(len(x), len(y)) < 2 or len({*x}) == len({*y}) == 1:
        return -math.inf, math.inf
    parts = [(statistics.variance(values) / len(values), len(values) - 1) for values in (x, y)]
    variance = sum(part for part, _ in parts)
    t = stats.t.ppf((1 + level) / 2, variance**2 / sum(part**2 / n for part, n in parts))
    mean, half = statistics.mean(x) - statistics.mean(y), float(t) * math.sqrt(variance)
    return mean - half, mean + half


def judge(x: list[float], y: list[float], margin: float, p: float | None = None, looks: int = 1) -> str:
    """What x is beside y, of numbers of which more is better: better, worse, equivalent or undecided.

    equivalent: the 90 % interval of the difference is within the margin, by two one-sided tests at 5 %. better, worse:
    else, and p (by default that of `p_value`) is at most 5 %. With more than one look at growing samples all levels are
    divided by their number (Bonferroni), so that 5 % is the error of all looks together.
    """
    low, high = limits(x, y, 1 - 0.1 / looks)
    if -margin < low and high < margin:
        return "equivalent"
    if (p_value(x, y) * looks if p is None else p) > 0.05:
        return "undecided"
    return "better" if statistics.mean(x) > statistics.mean(y) else "worse"


def decided(x: list[float], y: list[float], margin: float) -> bool:
    """The stopping rule: whether a comparison needs no more blocks of seeds, at one of the LOOKS."""
    return judge(x, y, margin, looks=LOOKS) != "undecided" or min(len(x), len(y)) >= LOOKS * BLOCK


def needed(x: list[float], y: list[float], margin: float, looks: int = 1) -> str:
    """The n per side that would decide if the same values came again and again: 95 % excludes 0, or 90 % the margin."""
    for n in range(BLOCK * (min(len(x), len(y)) // BLOCK + 1), 101, BLOCK):
        more = np.resize(x, n).tolist(), np.resize(y, n).tolist()
        low, high = limits(*more, 1 - 0.1 / looks)
        if -margin < low and high < margin or math.prod(limits(*more, 1 - 0.05 / looks)) > 0:
            return str(n)
    return "over 100"


def values_of(rows: Iterable[dict], name: str) -> list[float]:
    """The numbers of a column of runs.csv; of "success" 0 or 1.

    A diverged run counts as nothing covered (its distances are left out), one that failed for another reason not at
    all. Without a sharp sample reverse_kl has no value, and counts as if all were at one mode.
    """
    if name == "success":
        return [float(ended) for ended in map(success, rows) if ended is not None]
    found = []
    for row in rows:
        number = NOTHING.get(name) if row["status"].startswith("diverged") else row.get(name)
        if number in (None, "") and name == "reverse_kl" and row["dataset"] in MODES and "failed" not in row["status"]:
            number = math.log(MODES[row["dataset"]])
        if number not in (None, ""):
            found.append(float(number))
    return found


def columns_of(dataset: str) -> dict[str, int]:
    """The columns of a data set's tables and how many digits each shows."""
    return {"success": 2} | (POINT_COLUMNS if dataset in MODES_OF_POINTS else IMAGE_COLUMNS)


def cell(rows: list[dict], column: str) -> str:
    """`k of n [low, high]` of success, else `mean [low, high]`, or the mean alone; `-` if there is no number.

    `(n = 2)` at its end: so many of the finished runs have the number, which was not measured when the others ran.
    """
    values = values_of(rows, column)
    if not values:
        return "-"
    if column == "success":
        return "{} [{:.2f}, {:.2f}]".format(count(rows), *rate(int(sum(values)), len(values)))
    digits = columns_of(rows[0]["dataset"])[column]
    mean, low, high = (f"{number:.{digits}f}" for number in interval(values))
    missing = len(values) < sum(row["status"] == "finished" for row in rows)
    return (f"{mean} [{low}, {high}]" if low != high else mean) + (f" (n = {len(values)})" if missing else "")


def count(rows: list[dict]) -> str:
    """How many runs succeeded: `10 of 10`; `-` if there is none."""
    values = values_of(rows, "success")
    return f"{sum(values):.0f} of {len(values)}" if values else "-"
