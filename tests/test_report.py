"""scripts/report.py and the claims: the README, the headers and CLAIMS.md say what results/ says."""

import statistics

import pytest
from conftest import FILES, ROOT
from scipy import stats

from scripts import benchmark, claims, report
from scripts.suites import SUITES

FILES_THAT_QUOTE = {
    ROOT / "README.md": report.with_results,
    ROOT / "results" / "CLAIMS.md": lambda _: report.claims_page(),
}
FILES_THAT_QUOTE |= dict.fromkeys(FILES, report.with_expected)


@pytest.mark.parametrize("path", FILES_THAT_QUOTE, ids=lambda path: path.name)
def test_what_is_quoted_is_what_was_measured(path):
    text = path.read_text()
    assert FILES_THAT_QUOTE[path](text) == text, "stale: python scripts/report.py"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_header_quotes_the_runs(file):
    """Not by report.py's own formatting: the means of the default command stand in the header."""
    rows = [row for row in benchmark.read("quick") if (row["label"], row["dataset"]) == (file.stem, "ring")]
    header = " ".join(file.read_text().split('"""')[1].split())
    mean = {name: statistics.mean(float(row[name]) for row in rows) for name in ("coverage", "high_quality", "w1")}
    assert f"coverage {mean['coverage']:.1f} [" in header and f"high_quality {mean['high_quality']:.2f} [" in header
    assert f"w1 {mean['w1']:.2f} [" in header and f"{len(rows)} seeds" in header


def test_nothing_is_written_if_something_cannot_be(monkeypatch):
    """The README is stale, and a header has no result to quote."""

    def no_result(text):
        raise LookupError("no result")

    def write(path, text):
        raise AssertionError(f"{path} is written")

    monkeypatch.setattr(report, "with_results", lambda text: text + "stale")
    monkeypatch.setattr(report, "with_expected", no_result)
    monkeypatch.setattr(type(ROOT), "write_text", write)
    with pytest.raises(SystemExit, match="no result"):
        report.main(report.Args())


def test_tables_are_tables():
    """No cell holds what Markdown takes for the border of one."""
    for page in [ROOT / "README.md", *(ROOT / "results").rglob("*.md")]:
        lines = page.read_text().splitlines()
        for above, line in zip(lines, lines[1:], strict=False):
            if above.startswith("|") and line.startswith("|"):
                assert above.count("|") == line.count("|"), f"{page.name}: {line}"


def test_header_of_unknown_defaults_is_refused():
    text = FILES[0].read_text().replace("python algos/began.py\n", "python algos/began.py --gamma 0.123\n")
    with pytest.raises(LookupError, match="no suite has run .python algos/began.py --gamma 0.123"):
        report.with_expected(text)


# claims -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: f"{claim.suite}-{claim.ours}-{claim.column}")
def test_claim_is_about_rows_that_there_are(claim):
    rows = {(row.label, row.dataset) for row in SUITES[claim.suite].rows}
    assert (claim.ours, claim.dataset) in rows
    assert not isinstance(claim.other, str) or (claim.other, claim.dataset) in rows
    assert claim.column in benchmark.columns_of(claim.dataset) and abs(claim.sign) == 1


def test_difference_is_welchs():
    x, y = [8.0, 7, 8, 6, 8], [3.0, 6, 5, 8, 1, 4]
    reference = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    mean, half = claims.difference(x, y)
    assert (mean - half, mean + half) == pytest.approx((reference.low, reference.high))
    assert claims.difference([8.0] * 3, [8.0] * 4) == (0, 0)
    one_sided = stats.t.interval(0.95, 4, loc=statistics.mean(x) - 8, scale=stats.sem(x))
    mean, half = claims.difference(x, [8.0, 8.0])
    assert (mean - half, mean + half) == pytest.approx(one_sided)
    assert claims.difference([8.0], [1.0, 2.0]) == (6.5, float("inf"))


@pytest.mark.parametrize(
    ("mean", "half", "room", "published", "said"),
    [
        (1.0, 0.5, 2, None, "replicates"),
        (1.0, 0.5, 2, (5.0, 0.1), "replicates"),  # smaller than published, but there
        (-1.0, 0.5, 2, None, "does not: the opposite"),
        (0.1, 0.5, 2, None, "not shown at this budget"),
        (0.1, 0.5, 2, (0.8, 0.2), "not shown at this budget"),  # 0.6 is within two standard errors of 0.8
        (0.1, 0.5, 2, (1.6, 0.2), "does not: less than published"),
        (0.1, 0.5, 0.4, (1.6, 0.2), "not shown at this budget"),  # the baseline lost too little
        (0.1, 0.5, 2, (1.0, 0.73), "not shown at this budget"),  # not significant in the paper itself
        (0.0, 0.0, 2, None, "does not: no difference"),
        (0.0, 0.0, 0, None, "not shown: there is nothing to remedy"),
        (900.0, float("inf"), 900, (921.0, 6.0), "not shown at this budget"),  # one seed
    ],
)
def test_verdict(mean, half, room, published, said):
    assert claims.verdict(mean, half, room, published) == said


@pytest.mark.parametrize(
    ("steps", "modes", "said"),
    [
        ("400000", "56", "does not: less than published"),
        ("4000", "56", "not shown at this budget"),
        ("400000", "78", "replicates"),
        ("4000", "78", "replicates, early in training"),
        ("400000", "34", "does not: the opposite"),
        ("4000", "34", "does not: the opposite, early in training"),
    ],
)
def test_a_fraction_of_the_budget_shows_only_the_beginning(monkeypatch, steps, modes, said):
    command = next(row for row in SUITES["pacgan"].rows if row.label == "m = 2").command((f"steps={steps}",))
    rows = [
        {"label": label, "dataset": "ring", "modes": number, "status": "finished", "command": command}
        for label, number in [*(("m = 2", number) for number in modes), ("GAN (m = 1)", "5"), ("GAN (m = 1)", "6")] * 20
    ]
    monkeypatch.setattr(report, "results", lambda suite: rows)
    claim = claims.Claim("", "", "pacgan", "ring", "modes", "m = 2", "GAN (m = 1)", 1, (1.6, 0.51))
    assert report.judged(claim)[4] == said


@pytest.mark.parametrize(
    ("column", "numbers", "said"),
    [
        ("modes", {"high_quality": "0.4"}, "replicates, in blurred samples"),
        ("modes", {"high_quality": "0.6"}, "replicates"),
        ("modes", {"unsure": "0.6"}, "replicates, in blurred samples"),
        ("modes", {"unsure": "0.4"}, "replicates"),
        ("js", {"high_quality": "0.4"}, "replicates"),
    ],
)
def test_modes_in_blurred_samples_are_called_so(monkeypatch, column, numbers, said):
    """The samples of the remedy, not of what it is compared with."""
    rows = [
        {"label": label, "dataset": "ring", column: value, "status": "finished"} | numbers
        for label, value, numbers in [("a", "7", numbers), ("a", "8", numbers), ("b", "1", {}), ("b", "2", {})] * 5
    ]
    monkeypatch.setattr(report, "results", lambda suite: rows)
    assert report.judged(claims.Claim("", "", "x", "ring", column, "a", "b"))[4] == said


def test_the_readme_says_which_share_of_a_protocol_was_run(monkeypatch):
    rows = [{"label": "m = 2", "steps": "4000"}, {"label": "m = 3", "steps": "400000"}, {"label": "exact sampler"}]
    monkeypatch.setattr(report, "results", lambda suite: rows if suite == "pacgan" else [])
    *_, line = [line for line in report.suites_table() if line.startswith("|")]
    assert [cell.strip() for cell in line.split("|")][3:5] == ["2", "1 %"]


def test_summary_counts_all():
    said = ["replicates"] * 5 + ["replicates, in blurred samples", "replicates, in blurred samples, early in training"]
    said += ["not shown at this budget"] * 2 + ["not shown: there is nothing to remedy", "does not: the opposite"]
    assert report.summary(said) == (
        "Of 11 claims: 7 replicate, 2 of them in blurred samples and 1 so far early in training; "
        "3 are not shown, 1 of them as there was nothing to remedy; 1 are contradicted."
    )


def test_claim_is_judged_by_its_rows_and_sign(monkeypatch):
    def row(label, value, dataset="ring", status="finished"):
        return {"label": label, "dataset": dataset, "modes": value, "w1": value, "status": status}

    rows = [row("a", "8"), row("a", "7"), row("a", "8"), row("b", "3"), row("b", "4"), row("b", "2")]
    rows += [row("a", "1", "grid"), row("c", "", status="diverged: x"), row("c", "3"), row("c", "3")]
    rows += [row("d", "8"), row("d", "8")]
    monkeypatch.setattr(report, "results", lambda suite: rows if suite == "x" else [])

    def judge(ours, other, sign, suite="x", column="modes"):
        return report.judged(claims.Claim("", "", suite, "ring", column, ours, other, sign))

    ours, other, mean, half, said = judge("a", "b", 1)
    assert (ours, other, said) == (rows[:3], rows[3:6], "replicates") and mean == pytest.approx(14 / 3)
    assert (mean, half) == pytest.approx(claims.difference([8.0, 7, 8], [3.0, 4, 2]))
    assert judge("b", "a", -1)[2:] == judge("a", "b", 1)[2:]
    assert judge("b", "a", 1)[4] == "does not: the opposite"
    assert judge("b", 8.0, -1)[4] == "replicates"
    assert judge("a", "b", 1, "y") is None
    assert judge("a", "c", 1)[2] == pytest.approx(23 / 3 - 2)  # a diverged run counts as no mode
    assert judge("a", "c", 1, column="w1")[4] == "not shown: a run diverged or failed"
    assert judge("a", "d", 1)[4] == "not shown: there is nothing to remedy"
    assert judge("d", 7.0, 1)[4] == "not shown at this budget"  # two seeds that agree are no interval
