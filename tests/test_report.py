"""scripts/report.py and the headers: the pages, the headers and CLAIMS.md say what results/ says."""

import re
import statistics
import textwrap
from collections import Counter

import pytest
from conftest import FILES, ROOT

from common.args import RunError
from scripts import report
from scripts.lib import headers
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
    images = row("digits", "algos/toygan.py --dataset digits", "t", fid="1.5", missing="0", seconds="60", device="GPU")
    rows = [points, points | {"coverage": "8", "seconds": "30"}, images]
    monkeypatch.setattr(report, "results", lambda suite: rows if suite == "quick" else [])
    monkeypatch.setattr(report, "settings_key", lambda command: "t" if "digits" in command else "s")
    text = report.with_expected(HEADER.replace("--dataset grid", "--dataset digits"))
    assert text.split("Pitfalls")[1] == textwrap.dedent(
        '''\
            None.
        Expected    python algos/toygan.py
                    success 1 of 2: coverage 7.5 of 8, sharp 0.50; 25 s each on one CPU core
                    python algos/toygan.py --dataset digits
                    success 1 of 1: FID 1.50 by a small classifier; 60 s each on one GPU
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
        good = sum(row["coverage"] == "8" and float(row["high_quality"]) >= 0.5 for row in rows)
        assert f"success {good} of {len(rows)}: coverage {mean['coverage']:.1f} of 8" in header, file.name
        assert f"sharp {mean['high_quality']:.2f}; " in header, file.name


def test_diff_of_the_readme_is_that_of_the_files():
    """Its lines make wgan_gp.py of nsgan.py, from the networks on."""
    lines = report.diff_block()
    assert lines[0] == "```diff" and lines[-2:] == ["```", ""] and len(lines) <= 45
    files = {sign: (ROOT / "algos" / f"{name}.py").read_text() for sign, name in (("-", "nsgan"), ("+", "wgan_gp"))}
    code = {sign: text.split("\nclass Generator")[1].splitlines() for sign, text in files.items()}
    code = {sign: Counter(line for line in its_lines if line) for sign, its_lines in code.items()}
    shown = {sign: Counter(line[1:] for line in lines[3:] if line.startswith(sign) and line != sign) for sign in "-+"}
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


def test_suites_that_were_not_run_say_so(monkeypatch):
    rows = [{"label": label} for label in ("m = 2", "m = 3", "exact sampler", "ten images, repeated")]
    monkeypatch.setattr(report, "results", lambda suite: rows if suite == "pacgan" else [])
    lines = {line.split("|")[1].strip(): line.split("|")[3].strip() for line in report.suites_table()[2:-1]}
    assert lines["[`pacgan`](pacgan/table.md)"] == "2" and lines["`quick`"] == "0"
    assert len(lines) == len(SUITES)


def test_readme_counts_successes_and_settings():
    """Of nsgan.py: by hand from the rows, in the order of the head."""
    head, _, line = report.files_table()[:3]
    cells = dict(zip(*[[c.strip() for c in row.split("|")[1:-1]] for row in (head, line)], strict=True))
    good = {}
    for data, modes in [("ring", 8), ("grid", 25)]:
        rows = [row for row in read("quick") if (row["label"], row["dataset"]) == ("nsgan", data)]
        ended = [row["coverage"] == str(modes) and float(row["high_quality"]) >= 0.5 for row in rows]
        good[data] = f"{sum(ended)} of {len(ended)}"
    digits = [row for row in read("images") if (row["label"], row["dataset"]) == ("nsgan", "digits")]
    good["digits"] = f"{sum(float(r['fid']) <= 2 and float(r['missing']) == 0 for r in digits)} of {len(digits)}"
    assert [cells[name] for name in ("success: ring", "grid", "digits")] == [*good.values()]
    assert cells["file"] == "[`nsgan.py`](algos/nsgan.py)" and cells["lines changed"] == "reference"
    settings = cells["settings that work, of 12: ring, grid, digits"]
    assert len(settings.split(", ")) >= 2 and all(0 <= int(n) <= 12 for n in settings.split(", "))
