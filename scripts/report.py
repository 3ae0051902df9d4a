"""Puts the numbers of results/ where people read them: the README, the headers' Expected, results/CLAIMS.md.

    python scripts/report.py            # writes
    python scripts/report.py --check    # only says what is stale, and then ends with status 1

All from the runs.csv of the suites, which scripts/benchmark.py writes.
"""

import ast
import difflib
import json
import math
import re
import shlex
import statistics
import sys
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tyro

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from scripts.benchmark import (  # noqa: E402
    CONTROLS,
    MODES,
    NOISE,
    budget,
    cell,
    columns_of,
    read,
    settings_key,
    values_of,
    where,
)
from scripts.claims import CLAIMS, Claim, difference, verdict  # noqa: E402
from scripts.suites import ALGOS, SUITES  # noqa: E402
from scripts.tables import read_rows, short, table  # noqa: E402


@dataclass
class Args:
    check: bool = False
    """write nothing, say what is stale"""


ARXIV = "https://arxiv.org/abs/"
FILES = {  # paper, its address, the failure that the file remedies
    "nsgan": ("Goodfellow et al. 2014, section 3", f"{ARXIV}1406.2661", "vanishing gradient"),
    "gan": ("Goodfellow et al. 2014, eq. 1", f"{ARXIV}1406.2661", "none: its loss saturates"),
    "lsgan": ("Mao et al. 2017", f"{ARXIV}1611.04076", "vanishing gradient"),
    "wgan": ("Arjovsky et al. 2017", f"{ARXIV}1701.07875", "vanishing gradient, mode collapse"),
    "wgan_gp": ("Gulrajani et al. 2017", f"{ARXIV}1704.00028", "vanishing gradient, mode collapse"),
    "dragan": ("Kodali et al. 2017", f"{ARXIV}1705.07215", "mode collapse"),
    "pacgan": ("Lin et al. 2018", f"{ARXIV}1712.04086", "mode collapse"),
    "unrolled": ("Metz et al. 2017", f"{ARXIV}1611.02163", "mode collapse, oscillation"),
    "d2gan": ("Nguyen et al. 2017", f"{ARXIV}1709.03831", "mode collapse"),
    "dual_d_selu": (
        "Zhang, Li & Yu 2018",
        "https://doi.org/10.1145/3283254.3283282",
        "vanishing gradient, mode collapse",
    ),
    "mlegan": ("Goodfellow 2014", f"{ARXIV}1412.6515", "mode collapse (in theory)"),
    "began": ("Berthelot et al. 2017", f"{ARXIV}1703.10717", "a discriminator that wins"),
}


@cache
def results(suite: str) -> list[dict]:
    return read(suite)


def rows_of(suite: str, dataset: str, label: str) -> list[dict]:
    return [row for row in results(suite) if row["label"] == label and row["dataset"] == dataset]


# the headers --------------------------------------------------------------------------------------------------------


def commands(text: str) -> list[str]:
    """The commands under Expected in the header of a file of algos/."""
    return re.findall(r"python (algos/.*)", ast.get_docstring(ast.parse(text)).split("\nExpected")[1])


def sentence(command: str) -> str:
    """What a header says of one command. Raises LookupError if no suite has run it with today's defaults."""
    key, file = settings_key(command), shlex.split(command)[0]
    for suite in SUITES:
        rows = [row for row in results(suite) if row["settings"] == key and row["command"].split()[0] == file]
        if not rows:
            continue
        if len(values_of(rows, "seconds")) < len(rows):
            raise LookupError(f"some runs of `python {command}` failed: its header cannot quote them")
        seconds = statistics.median(values_of(rows, "seconds"))
        end = f"95% intervals over {len(rows)} seeds, {seconds:.0f} s on {where(rows)}"
        if not values_of(rows, "coverage"):
            return f"swd {cell(rows, 'swd')}, distance {cell(rows, 'distance')}; {end}"
        best = statistics.mean(values_of(rows, "coverage_max"))
        return (
            f"coverage {cell(rows, 'coverage')} (best on the way {best:.1f}), high_quality "
            f"{cell(rows, 'high_quality')}, w1 {cell(rows, 'w1')}; {end}"
        )
    raise LookupError(f"no suite has run `python {command}` as its defaults are now: scripts/benchmark.py")


def with_expected(text: str) -> str:
    """A file of algos/ with its header's Expected as the results are."""
    head, rest = text.split("\nExpected", 1)
    lines = []
    for command in commands(text):
        lines += textwrap.wrap(f"python {command}", 108) + textwrap.wrap(sentence(command), 108)
    expected = "\n".join(f"            {line}" for line in lines).removeprefix(" " * 12)
    return f'{head}\nExpected    {expected}\n"""{rest.split(chr(34) * 3, 1)[1]}'


# results/CLAIMS.md --------------------------------------------------------------------------------------------------


def judged(claim: Claim) -> tuple[list[dict], list[dict], float, float, str] | None:
    """The rows of both sides (of a number none), the difference as claimed, half its interval, the verdict.

    None: not run. An interval without width is taken for one only from five seeds on.
    """
    ours, other = (rows_of(claim.suite, claim.dataset, str(label)) for label in (claim.ours, claim.other))
    values = [values_of(rows, claim.column) for rows in (ours, other)]
    room = math.inf
    if not isinstance(claim.other, str):
        values[1] = [claim.other] * 5
    elif claim.column in ("modes", "coverage") and values[1]:
        room = MODES[claim.dataset] - statistics.mean(values[1])
    if not all(values):
        return None
    mean, half = difference(*values)
    if half == 0 and min(map(len, values)) < 5:
        half = math.inf
    mean *= claim.sign
    if any(len(found) < len(rows) for found, rows in zip(values, (ours, other), strict=True) if rows):
        return ours, other, mean, half, "not shown: a run diverged or failed"
    fraction = bool(claim.suite in SUITES and budget(SUITES[claim.suite], ours))
    published = None if fraction else claim.published  # at first the difference may be less than in the end
    said = verdict(mean, half, room, published)
    if said == "replicates" and claim.column in ("modes", "coverage") and blurred(ours):
        said += BLURRED
    return ours, other, mean, half, said + (EARLY if fraction and not said.startswith("not shown") else "")


BLURRED, EARLY = ", in blurred samples", ", early in training"


def blurred(rows: list[dict]) -> bool:
    """Whether fewer than half of the samples are sharp, or of images the classifier is sure of."""
    sharp, unsure = (values_of(rows, name) for name in ("high_quality", "unsure"))
    return bool(sharp) and statistics.mean(sharp) < 0.5 or bool(unsure) and statistics.mean(unsure) > 0.5


def summary(verdicts: list[str]) -> str:
    """How many claims fared how, in a sentence."""

    def count(begin: str, part: str = "") -> int:
        return sum(said.startswith(begin) and part in said for said in verdicts)

    blurs, early = count("replicates", BLURRED), count("replicates", EARLY)
    parts = [
        f"{count('replicates')} replicate, {blurs} of them in blurred samples and {early} so far early in training",
        f"{count('not shown')} are not shown, {count('not shown: there')} of them as there was nothing to remedy",
        f"{count('does not')} are contradicted",
    ]
    parts += [f"{count('not run')} were not run"] if count("not run") else []
    return f"Of {len(verdicts)} claims: {'; '.join(parts)}."


def claims_page() -> str:
    cells, verdicts = [], []
    for claim in CLAIMS:
        line = [claim.text, claim.source, f"[{claim.suite}]({claim.suite}/table.md), {claim.dataset}, {claim.column}"]
        found = judged(claim)
        if found is None:
            cells.append([*line, "-", "-", "-", "-", "not run"])
            verdicts.append("not run")
            continue
        *sides, mean, half, said = found
        for label, rows in zip((claim.ours, claim.other), sides, strict=True):
            if not rows:
                line.append(f"{label:g}")
                continue
            sharp = values_of(rows, "high_quality") if claim.column in ("coverage", "modes") else []
            sharp = f", sharp {statistics.mean(sharp):.2f}" if sharp else ""
            line.append(f"{label}: {cell(rows, claim.column)}{sharp}, n = {len(rows)}")
        digits = columns_of(claim.dataset)[claim.column]
        spread = f" [{mean - half:+.{digits}f}, {mean + half:+.{digits}f}]" if half < math.inf else ""
        published = "-" if claim.published is None else "{:+.{d}f} +- {:.{d}f}".format(*claim.published, d=digits)
        cells.append([*line, f"{mean:+.{digits}f}{spread}", published, f"**{said}**"])
        verdicts.append(said)
    noise = statistics.mean(values_of(rows_of("quick", "grid", NOISE), "modes"))
    lines = [
        "# Claims",
        "",
        "What papers and lecture notes say, held against the tables in this folder. Made by `python scripts/report.py` "
        "from the rows in each suite's runs.csv; the claims and their tests are in "
        f"[`scripts/claims.py`](../scripts/claims.py). {summary(verdicts)}",
        "",
        "`difference` is signed so that positive is as claimed; in brackets its 95 % interval over the seeds (Welch's "
        "t). *Replicates*: the interval is above 0. *Does not*: it is below 0; or below what was published (by two "
        "standard errors), though the baseline lost as much; or no seed differs. *Not shown*: else; where there are "
        "too few seeds to say; and where the baseline has no mode left to win. *In blurred samples*: fewer than half "
        "of them are sharp (of images: more than half are none that the classifier is sure of). *Early in training*: "
        "at a fraction of the updates of the protocol. Of so many intervals about one in twenty misses. `modes`, the "
        "papers' count, are those with at least one sample within 3 standard deviations; `sharp` is the share of such "
        f"samples: reaching the modes with a blur is easy, uniform noise has {noise:.0f} of the grid's 25. A verdict "
        "is about these files with the networks, settings and budgets of each table, not about the papers' own.",
        "",
        *table(["claim", "source", "where", "measured", "against", "difference", "published", "verdict"], cells),
    ]
    return "\n".join(lines)


# the README ---------------------------------------------------------------------------------------------------------


def changed_lines(algo: str) -> str:
    """Lines of code added to and removed from nsgan.py, without header and empty lines."""
    bodies = [(ROOT / "algos" / f"{name}.py").read_text().split('"""', 2)[2].splitlines() for name in ("nsgan", algo)]
    marks = [line[0] for line in difflib.ndiff(*bodies) if line[0] in "+-" and line[2:].strip()]
    return f"+{marks.count('+')} -{marks.count('-')}" if marks else "reference"


def quick_table() -> list[str]:
    """The table of all twelve files."""
    counts = {data: {len(rows_of("quick", data, algo)) for algo in ALGOS} for data in ("ring", "grid")}
    if 0 in counts["ring"] | counts["grid"]:
        raise LookupError("`python scripts/benchmark.py quick` has not run all files yet")
    n = {data: "-".join(map(str, sorted(found))) for data, found in counts.items()}
    head = ["file", "paper", "remedies", "lines changed", f"ring: modes covered of 8 (n = {n['ring']})", "sharp"]
    head += [f"grid: of 25 (n = {n['grid']})", "sharp", "seconds", "film"]
    cells = []
    for algo, (paper, address, remedy) in FILES.items():
        line = [f"[`{algo}.py`](algos/{algo}.py)", f"[{paper}]({address})", remedy, changed_lines(algo)]
        for data in ("ring", "grid"):
            rows = rows_of("quick", data, algo)
            line += [cell(rows, "coverage"), cell(rows, "high_quality")]
        seconds = [statistics.median(values_of(rows_of("quick", data, algo), "seconds")) for data in ("ring", "grid")]
        cells.append([*line, "{:.0f}, {:.0f}".format(*seconds), f"[film](results/quick/{algo}-ring.gif)"])
    for control in CONTROLS:
        cells.append([control, "", "", ""])
        for data in ("ring", "grid"):
            rows = rows_of("quick", data, control)
            cells[-1] += [f"{statistics.mean(values_of(rows, 'coverage')):.1f}"]
            cells[-1] += [f"{statistics.mean(values_of(rows, 'high_quality')):.2f}"]
        cells[-1] += ["", ""]
    return table(head, cells)


def suites_table() -> list[str]:
    """The table of the suites that have been run."""
    cells = []
    for name, suite in SUITES.items():
        planned = {row.label: int(row.flags["steps"]) for row in suite.rows if "steps" in row.flags}
        if runs := [row for row in results(name) if row["label"] not in CONTROLS]:
            shares = [int(row["steps"]) / planned.get(row["label"], int(row["steps"])) for row in runs]
            cells.append([f"[`{name}`](results/{name}/table.md)", suite.title, len(runs), f"{100 * min(shares):.3g} %"])
    return table(["suite", "what it compares", "runs", "of the protocol's updates"], cells)


def speed_tables() -> list[str]:
    """A table for each device on which scripts/speed.py measured the updates: batches of 64, of all files."""
    lines = []
    for path in sorted((ROOT / "results" / "speed").glob("*/updates.csv")):
        rows = [row for row in read_rows(path) if row["batch_size"] == "64"]
        way = "graph" if any(row.get("graph ms") for row in rows) else "eager"
        amp = "graph amp" if way == "graph" else "amp"
        found = {(row["algo"], row["dataset"]): row for row in rows}
        sets = [
            name for name in dict.fromkeys(row["dataset"] for row in rows) if {(a, name) for a in ALGOS} <= {*found}
        ]
        what = [(f"{way} ms", "ms"), (f"{way} ratio", "times as fast"), (f"{amp} ratio", "with --amp")]
        columns = [(name, column, title) for name in sets for column, title in what[: 2 if name == "grid" else 3]]
        cells = []
        for algo in ALGOS:
            values = [found[algo, name][column] for name, column, _ in columns]
            shorter = [short if column.endswith("ms") else two_decimals for _, column, _ in columns]
            cells.append([f"`{algo}.py`", *(f(value) for f, value in zip(shorter, values, strict=True))])
        head = ["file", *(f"{name}, {what}" for name, _, what in columns)]
        device = json.loads((path.parent / "limits.json").read_text())["device"]
        titles = {"updates": "all updates", "ablation": "what each trick gains", "result": "seconds to a result"}
        pages = [path.with_name(f"{name}.md").relative_to(ROOT) for name in titles]
        links = [f"[{titles[page.stem]}]({page.as_posix()})" for page in pages if (ROOT / page).exists()]
        lines += [f"On {device} ({', '.join(links)}), batches of 64:", "", *table(head, cells)]
    return lines


def two_decimals(number: str) -> str:
    return f"{float(number):.2f}" if number else "-"


def peers_tables() -> list[str]:
    """A table for each device on which scripts/peers.py ran other people's scripts."""
    lines = []
    for path in sorted((ROOT / "results" / "speed").glob("*/peers.csv")):
        cells = []
        for row in read_rows(path):
            script = " ".join([Path(row["script"]).parts[0], Path(row["script"]).name])
            cells.append([script, row["flags"] and f"`{row['flags']}`", f"`{row['algo']}.py`", row["shape"]])
            cells[-1] += [two_decimals(row[f"{way} ratio"]) for way in ("ours", "amp", "one pass", "one pass, amp")]
        head = ["script", "flags", "our file", "images", "times as fast", "with --amp", "one pass of G"]
        head.append("one pass, --amp")
        device = json.loads((path.parent / "limits.json").read_text())["device"]
        page = path.with_suffix(".md").relative_to(ROOT).as_posix()
        lines += [f"On {device} ([with the times]({page})):", "", *table(head, cells)]
    return lines


def with_results(text: str) -> str:
    """The README with what stands between its marks as the results are."""
    parts = {"quick": "\n".join(quick_table()), "suites": "\n".join(suites_table())}
    parts |= {"speed": "\n".join(["", *speed_tables()]), "peers": "\n".join(["", *peers_tables()])}
    for name, part in parts.items():
        begin, end = f"<!-- {name}: scripts/report.py -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{part}{end}{rest.split(end)[1]}"
    return text


def main(args: Args) -> None:
    files = {ROOT / "README.md": with_results, ROOT / "results" / "CLAIMS.md": lambda _: claims_page()}
    files |= {ROOT / "algos" / f"{algo}.py": with_expected for algo in ALGOS}
    stale = {}
    for path, renewed in files.items():
        old = path.read_text() if path.exists() else ""
        try:
            new = renewed(old)
        except LookupError as error:
            raise SystemExit(f"{path.name}: {error}") from None
        if new != old:
            stale[path] = new
    for path, new in stale.items():  # all or nothing
        if not args.check:
            path.write_text(new)
        print(f"{path.relative_to(ROOT)} {'is stale' if args.check else 'is renewed'}")
    if args.check and stale:
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__.splitlines()[0]))
