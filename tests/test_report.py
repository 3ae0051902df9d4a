"""scripts/report.py, the headers and the claims: the pages, the headers and CLAIMS.md say what results/ says."""

import re
import statistics
import textwrap
from collections import Counter

import pytest
from conftest import FILES, ROOT
from scipy import stats

from common.args import RunError
from scripts import report
from scripts.lib import claims, headers
from scripts.lib.statistics import columns_of, difference, verdict
from scripts.lib.suites import SUITES, read

# the headers --------------------------------------------------------------------------------------------------------

HEADER = '''"""TOYGAN, a toy.

Paper       Ada & Bob 2019, A title of 1843 words; after Cy et al. 2001,
            doi 10.1/a.b; and arXiv 1234.56789
Objective   D minimises
            nothing
Remedies    Boredom, in theory. Not the paper's (see toygan.py).
Changes     train
Pitfalls    None.
Expected    python algos/toygan.py
            coverage 8.0
            python algos/toygan.py --dataset grid
            coverage 25.0
"""

x = 1
'''


def test_header_is_read_by_entries(monkeypatch):
    found = headers.entries(HEADER)
    assert tuple(found) == headers.ENTRIES and found["Objective"] == "D minimises\nnothing"
    assert headers.cited(found["Paper"]) == ("Ada & Bob 2019", "https://doi.org/10.1/a.b")
    assert headers.cited("Di 2020, arXiv 2001.00001; doi 10.2/c") == ("Di 2020", "https://arxiv.org/abs/2001.00001")
    monkeypatch.setattr(headers, "header", lambda algo: found)
    assert headers.remedies("toygan") == "Boredom, in theory"
    assert report.commands(HEADER) == ["algos/toygan.py", "algos/toygan.py --dataset grid"]
    for wrong in (HEADER.replace("Changes ", "Change  "), HEADER.replace("Pitfalls    None.\n", ""), "x = 1"):
        with pytest.raises(ValueError, match="in this order"):
            headers.entries(wrong)
    for paper in ("Ada, arXiv 1234.56789", "Ada & Bob 2019"):
        with pytest.raises(ValueError, match="has a year"):
            headers.cited(paper)


def test_file_without_a_header_is_listed_last(monkeypatch):
    """So that the other files can still be run; the command that needs its header says what it lacks."""

    def paper(algo):
        if algo == "toygan":
            headers.entries("x = 1")
        return {"nsgan": "A 2014", "agan": "B 2020", "bgan": "C 1999"}[algo], ""

    monkeypatch.setattr(headers, "paper", paper)
    assert sorted(["toygan", "agan", "bgan", "nsgan"], key=headers.order) == ["nsgan", "bgan", "agan", "toygan"]


def test_files_are_all_listed_in_order():
    assert {*headers.ALGOS} == {file.stem for file in FILES} and headers.ALGOS[:2] == ["nsgan", "gan"]
    years = [int(headers.paper(algo)[0][-4:]) for algo in headers.ALGOS]
    assert years == sorted(years) and years[0] == 2014
    assert headers.paper("wgan_gp") == ("Gulrajani et al. 2017", "https://arxiv.org/abs/1704.00028")


def test_expected_is_two_lines_a_command(monkeypatch):
    def row(dataset, command, settings, **numbers):
        return {"dataset": dataset, "command": command, "settings": settings, "status": "finished"} | numbers

    points = row("ring", "algos/toygan.py", "s", coverage="7", high_quality="0.5", seconds="20", device="x86_64")
    images = row("mnist", "algos/toygan.py --dataset mnist", "t", swd="0.1", distance="0.9", seconds="60", device="GPU")
    rows = [points, points | {"coverage": "8", "seconds": "30"}, images]
    monkeypatch.setattr(report, "results", lambda suite: rows if suite == "quick" else [])
    monkeypatch.setattr(report, "settings_key", lambda command: "t" if "mnist" in command else "s")
    text = report.with_expected(HEADER.replace("--dataset grid", "--dataset mnist"))
    assert text.split("Pitfalls")[1] == textwrap.dedent(
        '''\
            None.
        Expected    python algos/toygan.py
                    coverage 7.5 [1.1, 8.0] of 8, sharp 0.50; 2 seeds, 25 s each on one CPU core
                    python algos/toygan.py --dataset mnist
                    swd 0.100, distance 0.90; 1 seeds, 60 s each on one GPU
        """

        x = 1
        '''
    )
    assert report.with_expected(text) == text
    rows.append(points | {"status": "failed: no disk", "seconds": ""})
    with pytest.raises(LookupError, match="failed"):
        report.with_expected(text)


# what is committed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", report.quoting(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_quoted_is_what_was_measured(path):
    text = path.read_text()
    assert report.quoting()[path](text) == text, "stale: python scripts/report.py"


def test_headers_quote_the_runs():
    """Not by report.py's own formatting: the means of the default command stand in the header."""
    for file in FILES:
        rows = [row for row in read("quick") if (row["label"], row["dataset"]) == (file.stem, "ring")]
        assert rows, f"{file.name}: python scripts/benchmark.py quick"
        header = file.read_text().split('"""')[1]
        mean = {name: statistics.mean(float(row[name]) for row in rows) for name in ("coverage", "high_quality")}
        assert f"coverage {mean['coverage']:.1f} [" in header, file.name
        assert f"sharp {mean['high_quality']:.2f}; {len(rows)} seeds" in header, file.name


def test_diff_of_the_readme_is_that_of_the_files():
    """Its lines make wgan_gp.py of nsgan.py, from the networks on."""
    lines = report.diff_block()
    assert lines[0] == "```diff" and lines[-2:] == ["```", ""] and len(lines) <= 45
    files = {sign: (ROOT / "algos" / f"{name}.py").read_text() for sign, name in (("-", "nsgan"), ("+", "wgan_gp"))}
    code = {sign: Counter(text.split("\nclass Generator")[1].splitlines()) for sign, text in files.items()}
    shown = {sign: Counter(line[1:] for line in lines[3:] if line.startswith(sign)) for sign in "-+"}
    assert code["-"] - shown["-"] + shown["+"] == code["+"] and shown["-"] <= code["-"]
    assert shown["+"]["        gp = gradient_penalty(D, real, fake)"] == 1
    places = [line for line in lines if line.startswith("@@")]
    assert places[:3] == ["@@ gradient_penalty @@", "@@ discriminator_loss @@", "@@ generator_loss @@"]
    assert {*places[3:]} == {"@@ train @@"}


def test_nothing_is_written_if_something_cannot_be(monkeypatch):
    """One page is stale, and a header has no result to quote."""

    def no_result(text):
        raise LookupError("no result")

    def write(path, text):
        raise AssertionError(f"{path} is written")

    quoting = {ROOT / "README.md": lambda text: text + "stale", FILES[0]: no_result}
    monkeypatch.setattr(report, "quoting", lambda: quoting)
    monkeypatch.setattr(type(ROOT), "write_text", write)
    with pytest.raises(RunError, match=f"algos/{FILES[0].name}: no result"):
        report.main(report.Args())


def test_check_says_what_is_stale_and_writes_nothing(monkeypatch, capsys):
    monkeypatch.setattr(report, "quoting", lambda: {ROOT / "README.md": lambda text: text + "stale"})
    before = (ROOT / "README.md").read_text()
    with pytest.raises(SystemExit) as ended:
        report.main(report.Args(check=True))
    assert ended.value.code == 1 and capsys.readouterr().out == "README.md is stale\n"
    assert (ROOT / "README.md").read_text() == before
    monkeypatch.setattr(report, "quoting", lambda: {ROOT / "README.md": lambda text: text})
    report.main(report.Args(check=True))


def test_only_what_stands_between_the_marks_is_renewed(monkeypatch):
    monkeypatch.setattr(report, "PAGES", {"x.md": {"a": lambda: ["new", ""], "b": lambda: ["also", ""]}})
    page = "0\n<!-- a: scripts/report.py -->\nold\n<!-- end of a -->\n1\n"
    page += "<!-- b: scripts/report.py -->\n<!-- end of b -->\n2\n"
    renewed = report.with_results(page, "x.md")
    assert renewed == page.replace("old", "new").replace("<!-- end of b", "also\n<!-- end of b")
    assert report.with_results(renewed, "x.md") == renewed
    for wrong in (page.replace("end of a", "end"), page + "<!-- end of b -->", page.replace("a: scr", "c: scr")):
        with pytest.raises(LookupError, match="there must be one"):
            report.with_results(wrong, "x.md")


def test_tables_are_tables():
    """No cell holds what Markdown takes for the border of one."""
    for page in [ROOT / "README.md", *(ROOT / "results").rglob("*.md")]:
        lines = page.read_text().splitlines()
        for above, line in zip(lines, lines[1:], strict=False):
            if above.startswith("|") and line.startswith("|"):
                assert above.count("|") == line.count("|"), f"{page.name}: {line}"


def test_header_of_unknown_defaults_is_refused():
    text = re.sub(r"python algos/began.py\n", "python algos/began.py --gamma 0.123\n", FILES[0].read_text())
    with pytest.raises(LookupError, match="no suite has run .python algos/began.py --gamma 0.123"):
        report.with_expected(text)


# claims -------------------------------------------------------------------------------------------------------------


def test_every_claim_is_about_rows_that_there_are():
    for claim in claims.CLAIMS:
        rows = {(row.label, row.dataset) for row in SUITES[claim.suite].rows}
        assert (claim.ours, claim.dataset) in rows, claim
        assert not isinstance(claim.other, str) or (claim.other, claim.dataset) in rows, claim
        assert claim.column in columns_of(claim.dataset) and abs(claim.sign) == 1, claim


def test_difference_is_welchs():
    x, y = [8.0, 7, 8, 6, 8], [3.0, 6, 5, 8, 1, 4]
    reference = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    mean, half = difference(x, y)
    assert (mean - half, mean + half) == pytest.approx((reference.low, reference.high))
    assert difference([8.0] * 3, [8.0] * 4) == (0, 0)
    one_sided = stats.t.interval(0.95, 4, loc=statistics.mean(x) - 8, scale=stats.sem(x))
    mean, half = difference(x, [8.0, 8.0])
    assert (mean - half, mean + half) == pytest.approx(one_sided)
    assert difference([8.0], [1.0, 2.0]) == (6.5, float("inf"))


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
    assert verdict(mean, half, room, published) == said


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
    assert (mean, half) == pytest.approx(difference([8.0, 7, 8], [3.0, 4, 2]))
    assert judge("b", "a", -1)[2:] == judge("a", "b", 1)[2:]
    assert judge("b", "a", 1)[4] == "does not: the opposite"
    assert judge("b", 8.0, -1)[4] == "replicates"
    assert judge("a", "b", 1, "y") is None
    assert judge("a", "c", 1)[2] == pytest.approx(23 / 3 - 2)  # a diverged run counts as no mode
    assert judge("a", "c", 1, column="w1")[4] == "not shown: a run diverged or failed"
    assert judge("a", "d", 1)[4] == "not shown: there is nothing to remedy"
    assert judge("d", 7.0, 1)[4] == "not shown at this budget"  # two seeds that agree are no interval
