"""Intervals, tests and verdicts: closed forms, symmetry, errors by simulation; and the claims that they judge."""

import itertools
import math
import re
import statistics
import subprocess

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from scripts.lib import claims, verdicts
from scripts.lib import statistics as of_runs
from scripts.lib.claims import Claim
from scripts.lib.statistics import decided, judge, limits, needed, p_value, rate
from scripts.lib.suites import EXACT, SUITES, read

OPPOSITE = {"better": "worse", "worse": "better", "equivalent": "equivalent", "undecided": "undecided"}

# intervals and tests ------------------------------------------------------------------------------------------------


def test_interval_of_a_rate_is_clopper_and_pearsons():
    assert rate(10, 10) == pytest.approx((0.6915, 1), abs=1e-4) and rate(0, 10) == pytest.approx((0, 0.3085), abs=1e-4)
    for n, level in itertools.product((5, 10, 30), (0.9, 0.95)):
        assert rate(n, n, level)[0] == pytest.approx(((1 - level) / 2) ** (1 / n))
    low, high = rate(3, 8)  # at its ends 3 or more, and 3 or fewer, successes have 2.5 %
    assert stats.binom.sf(2, 8, low) == pytest.approx(0.025) and stats.binom.cdf(3, 8, high) == pytest.approx(0.025)


def test_p_of_tiny_samples_is_exact():
    assert p_value([1.0, 2, 3], [4.0, 5, 6]) == pytest.approx(2 / math.comb(6, 3))
    assert p_value([1.0, 1, 2], [1.0, 1, 2]) == 1 == p_value([3.0, 3], [3.0]) == p_value([1.0] * 4, [1.0] * 7)
    assert p_value([1.0] * 5, [0.0] * 5) == pytest.approx(2 * 0.5**10)  # Barnard's, at the worst rate, one half
    x, y = [0.0, 3, 1, 7, 2], [5.0, 9, 4, 8, 6]
    means = [abs(sum(x + y) - 2 * sum(side)) for side in itertools.combinations(x + y, 5)]
    assert p_value(x, y) == pytest.approx(statistics.mean(m >= abs(sum(y) - sum(x)) for m in means))


@pytest.mark.parametrize("n", [10, 25])
def test_sides_may_be_swapped(n):
    """Also where the permutations are drawn, and all of rates, whatever the order of the seeds."""
    random = np.random.default_rng(n)
    for shift, margin in itertools.product((0, 0.5, 2), (0.3, 1)):
        for x, y in [(random.normal(shift, 1, n), random.normal(0, 1, 10)), (random.random((2, n)) < [[0.9], [0.4]])]:
            x, y = x.astype(float).tolist(), y.astype(float).tolist()
            assert p_value(x, y) == p_value(y, x) == p_value(x[::-1], y)
            assert limits(x, y) == pytest.approx([-limit for limit in limits(y, x)[::-1]])
            assert judge(x, y, margin) == OPPOSITE[judge(y, x, margin)]


def test_limits_are_welchs_and_those_of_the_rates():
    x, y = [8.0, 7, 8, 6, 8], [3.0, 6, 5, 8, 1, 4]
    reference = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.9)
    assert limits(x, y) == pytest.approx((reference.low, reference.high))
    assert limits([8.0] * 5, [8.0] * 5) == (-math.inf, math.inf) == limits([8.0], [1.0, 2.0])  # nothing of a spread
    for n in (5, 10, 30):
        assert limits([1.0] * n, [1.0] * n) == pytest.approx((0.05 ** (1 / n) - 1, 1 - 0.05 ** (1 / n)))
    assert limits([1.0] * 40, [0.0] * 40)[0] > 0.85


# verdicts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ([0.9, 0.91, 0.92, 0.9, 0.91], [0.91, 0.9, 0.9, 0.92, 0.9], "equivalent"),
        ([0.92, 0.93, 0.93, 0.92, 0.93], [0.9, 0.91, 0.91, 0.9, 0.91], "equivalent"),  # a difference that matters not
        ([0.9, 0.91, 0.92, 0.9, 0.91], [0.7, 0.71, 0.72, 0.7, 0.71], "better"),
        ([0.9, 0.5, 0.7, 0.8, 0.6], [0.7, 0.6, 0.9, 0.4, 0.8], "undecided"),
        ([1.0] * 15, [1.0] * 15, "equivalent"),
        ([1.0] * 10, [1.0] * 10, "undecided"),  # 10 of 10 leave a failure rate of 26 % possible
        ([1.0] * 10, [1.0] * 2 + [0.0] * 8, "better"),
        ([8.0] * 5, [8.0] * 5, "undecided"),  # a count at its ceiling says nothing of its spread
    ],
)
def test_verdict_of_constructed_samples(x, y, said):
    margin = 0.25 if {*x, *y} <= {0, 1} else 0.05
    assert judge(x, y, margin) == said and judge(y, x, margin) == OPPOSITE[said]
    assert judge(x, y, margin, p=0.06) == ("undecided" if said == "better" else said)


def test_equivalence_errs_in_five_percent_of_cases_where_the_difference_is_the_margin():
    """All outcomes of two samples, with their exact probabilities."""
    for n in (11, 15, 20):
        close = [
            (a, b)
            for a, b in itertools.product(range(n + 1), repeat=2)
            if judge([1.0] * a + [0.0] * (n - a), [1.0] * b + [0.0] * (n - b), 0.25, p=1) == "equivalent"
        ]
        for high in (1, 0.95, 0.9, 0.8, 0.625):
            error = sum(stats.binom.pmf(a, n, high) * stats.binom.pmf(b, n, high - 0.25) for a, b in close)
            assert error <= 0.055, (n, high)
        assert (n, n) in close


def test_no_difference_is_seldom_called_one():
    """At most 7 % of 1,000 comparisons are better or worse, and either is as likely."""
    random = np.random.default_rng(0)
    for draw in (lambda: (random.random(10) < 0.8) * 1.0, lambda: random.lognormal(size=5)):
        said = [judge(draw().tolist(), draw().tolist(), 0) for _ in range(1000)]
        assert 5 < said.count("better") + said.count("worse") < 70
        assert abs(said.count("better") - said.count("worse")) < 30


def looked(random, rates: tuple[float, float]) -> str:
    """The verdict at the look at which two growing samples of successes are decided."""
    x, y = ((random.random(30) < p).astype(float).tolist() for p in rates)
    n = next(n for n in range(5, 31, 5) if decided(x[:n], y[:n], 0.25))
    return judge(x[:n], y[:n], 0.25, looks=of_runs.LOOKS)


@pytest.mark.parametrize(
    ("rates", "wrong"),
    [
        ((0.5, 0.5), "better worse"),
        ((0.9, 0.9), "better worse"),
        ((1.0, 0.75), "equivalent"),
        ((0.9, 0.65), "worse equivalent"),
    ],
)
def test_six_looks_err_in_five_percent_together(rates, wrong):
    random = np.random.default_rng(1)
    said = [looked(random, rates) for _ in range(600)]
    assert sum(word in wrong.split() for word in said) <= 0.05 * 600
    once = np.random.default_rng(2)
    assert {looked(once, (1.0, 0.0)) for _ in range(5)} == {"better"}


def test_decided_ends_at_six_blocks_of_five_at_the_latest():
    assert of_runs.LOOKS * of_runs.BLOCK == 30
    assert not decided([1.0, 0] * 14, [1.0, 0] * 14, 0.25) and decided([1.0, 0] * 15, [1.0, 0] * 15, 0.25)
    assert decided([1.0] * 5, [0.0] * 5, 0.25) and not decided([1.0] * 5, [1.0] + [0.0] * 4, 0.25)


def test_needed_is_the_n_that_decides():
    assert needed([1.0] * 10, [1.0] * 10, 0.25) == "15" and needed([1.0] * 10, [1.0] * 10, 0.25, looks=6) == "20"
    assert needed([1.0, 0.0] * 5, [1.0] * 4 + [0.0] * 6, 0.1) == "over 100"
    x, y = [1.0, 2, 3, 4, 5], [2.0, 3, 4, 5, 6]
    n = int(needed(x, y, 0.1))
    assert (
        judge(x * (n // 5), y * (n // 5), 0.1) == "worse" and judge(x * (n // 5 - 1), y * (n // 5 - 1), 0.1) != "worse"
    )


# findings -----------------------------------------------------------------------------------------------------------


def claim(ours, other="b", kind="own", column="success", suite="packing", **more):
    return Claim(kind, f"{ours} {column}", "", suite, "ring", column, ours, other, **more)


def run(label, coverage=8, **numbers):
    row = {"label": label, "dataset": "ring", "status": "finished", "coverage": coverage, "high_quality": 0.9}
    return row | {"w1": 0.1, "modes": coverage} | numbers


@pytest.fixture
def rows(monkeypatch):
    """Rows of every suite."""
    rows = []
    monkeypatch.setattr(verdicts, "results", lambda suite: rows)
    return rows


def test_families_are_corrected_apart(rows, monkeypatch):
    """Benjamini and Hochberg by hand: q of the k-th smallest of m is the least p_j m / j of j >= k."""
    rows += [run(label) for label in "abcdef" for _ in range(5)]
    ps = iter([0.005, 0.2, 0.03, 0.04, 0.03, 1])
    monkeypatch.setattr(verdicts, "p_value", lambda x, y: next(ps))
    found = verdicts.judged([*(claim(label) for label in "acde"), claim("f", column="w1")])
    assert [f.q for f in found.values()] == pytest.approx([0.02, 0.2, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.03])
    assert verdicts.judged([claim("a"), claim("nobody")]).keys() == {claim("a")}


def test_finding_has_a_direction_and_the_looks_of_its_suites(rows):
    rows += [run("a", w1=0.1 + i / 100) for i in range(10)] + [run("b", 7, w1=0.5 + i / 100) for i in range(10)]
    found = verdicts.judged([claim("a"), claim("a", column="w1"), claim("b", "a"), claim("a", suite="quick", kind="k")])
    assert [f.said for f in found.values()] == ["better", "better", "worse", "better"]
    one, _, _, six = found.values()
    assert six.q == pytest.approx(6 * one.q / 1) and (one.looks, six.looks) == (1, 6)
    assert verdicts.judged([claim("a", column="w1", suite="quick")]).popitem()[1].looks == 1  # seeds stop by success


def test_diverged_run_fails_and_leaves_a_distance_undecided(rows):
    rows += [run("a", w1=0.1 + i / 100) for i in range(10)]
    rows += [run("b", w1=0.5 + i / 100) for i in range(9)] + [run("b", status="diverged: at once", w1="")]
    found = verdicts.judged([claim("a", column="w1"), claim("a")])
    assert [f.said for f in found.values()] == ["undecided", "undecided"] and [*found.values()][1].y == [1] * 9 + [0]
    rows[-1]["status"] = "failed: no disk"
    assert verdicts.judged([claim("a", column="w1")]).popitem()[1].said == "better"


def test_line_of_a_claim_says_what_was_expected_and_found(rows):
    rows += [run("a") for _ in range(10)] + [run("b", 7) for _ in range(10)]
    these = [claim("a"), claim("a", expected="equivalent", registered="after"), claim("b", "c"), claim("b", "b")]
    found = verdicts.judged(these)
    lines = [verdicts.line(this, found.get(this)) for this in these]
    assert lines[0][3:5] == ["a: 10 of 10 [0.69, 1.00]", "b: 0 of 10 [0.00, 0.31]"]
    now = f"`{claims.NEW}`" if claims.NEW else "with this revision"
    assert [line[-2:] for line in lines[:2]] == [["**better**", now], ["better", "after its runs"]]
    assert lines[2][-2] == "not run" and lines[3][-2] == "undecided (n 15)"
    assert verdicts.summary(these, found) == "Of 4: 1 found as expected, 1 otherwise, 1 undecided, 1 not run."


def test_next_lists_what_is_undecided(monkeypatch):
    rows = [run(label, 8 if label == "gan" else 7) for label in ("nsgan", "gan") for _ in range(10)]
    rows += [run("r1") for _ in range(10)]
    digits = [{"label": a, "dataset": "digits", "status": "finished", "fid": 1 + i / 9, "missing": 0}
              for a in ("nsgan", "gan") for i in range(10)]  # fmt: skip
    results = {"quick": rows, "images": digits}  # the second, undecided too, does not grow
    monkeypatch.setattr(verdicts, "results", lambda suite: results.get(suite, []))
    assert "undecided" in str(verdicts.against("digits", verdicts.judged(verdicts.COMPARED)))
    lines = [line for line in verdicts.to_run() if "benchmark.py" not in line]
    assert lines == ["r1, ring: 10 seeds leave it undecided against gan (n 20)"]


# the claims ---------------------------------------------------------------------------------------------------------


def test_every_claim_is_about_rows_that_there_are():
    for c in claims.CLAIMS + claims.COMPARED:
        ours, other = (
            {(row.label, row.dataset) for row in SUITES[suite].rows} for suite in (c.suite, c.other_suite or c.suite)
        )
        assert (c.ours, c.dataset) in ours and (c.other == EXACT or (c.other, c.dataset) in other), c
        assert c.column in of_runs.columns_of(c.dataset) and c.margin > 0, c
        assert c.expected in ("better", "worse", "equivalent") and (c.ours, c.suite) != (c.other, c.other_suite), c
    texts = [c.text for c in claims.CLAIMS]
    assert len({*texts}) == len(texts) and {c.kind for c in claims.CLAIMS} == {*claims.KINDS}


def git(*words) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.skipif(git("rev-parse", "--is-shallow-repository").stdout != "false\n", reason="no whole history here")
def test_claims_were_registered_where_they_say():
    """The commit is in the history, and its scripts have the claim's text."""
    for c in {(c.registered, c.text[:40]): c for c in claims.CLAIMS}.values():
        if c.registered in ("", "after"):
            continue
        assert re.fullmatch("[0-9a-f]{7,}", c.registered), c
        assert git("merge-base", "--is-ancestor", c.registered, "HEAD").returncode == 0, c
        fixed = re.split("the ring|the grid", c.text)[0][:40]  # as the source has it
        assert len(fixed) > 9 and git("grep", "-qF", fixed, c.registered, "--", "scripts").returncode == 0, c


def test_what_was_run_before_it_was_written_down_says_so():
    """A claim about runs that are here has its commit, or is called `after its runs`."""
    run_ = {name: {(row["label"], row["dataset"]) for row in read(name)} for name in {c.suite for c in claims.CLAIMS}}
    assert not [c for c in claims.CLAIMS if not c.registered and (c.ours, c.dataset) in run_[c.suite]]


def test_a_claim_of_which_one_side_has_a_single_run_is_not_judged_yet(monkeypatch):
    claim = Claim("own", "more", "", "quick", "ring", "w1", "a", "b")
    for n, judged in [(0, False), (1, False), (2, True)]:
        rows = {"a": [{"w1": str(i), "status": "finished"} for i in range(n)]}
        rows["b"] = [{"w1": str(i), "status": "finished"} for i in range(5)]
        monkeypatch.setattr(verdicts, "rows_of", lambda suite, dataset, label, rows=rows: rows[label])
        assert (claim in verdicts.judged([claim])) == judged
