"""Puts the numbers of results/ where people read them: the pages, the headers' Expected, results/CLAIMS.md.

    python scripts/report.py            # writes
    python scripts/report.py --check    # only says what is stale, and then ends with status 1

All from the runs.csv of the suites, which scripts/benchmark.py writes, and from the tables of scripts/speed.py and
scripts/peers.py. On a page it renews what stands between `<!-- NAME: scripts/report.py -->` and `<!-- end of NAME -->`.
"""

import ast
import difflib
import json
import math
import re
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.args import RunError
from scripts.lib import search
from scripts.lib.claims import CLAIMS, Claim
from scripts.lib.command import command
from scripts.lib.headers import ALGOS, INDENT, entries, paper, remedies
from scripts.lib.statistics import MODES, cell, columns_of, difference, values_of, verdict, where
from scripts.lib.suites import CONTROLS, NOISE, ROOT, SUITES, budget, read, settings_key
from scripts.lib.tables import read_rows, short, table


@dataclass
class Args:
    check: bool = False
    """write nothing, say what is stale"""


@cache
def results(suite: str) -> list[dict]:
    return read(suite)


def rows_of(suite: str, dataset: str, label: str) -> list[dict]:
    return [row for row in results(suite) if row["label"] == label and row["dataset"] == dataset]


def average(rows: list[dict], column: str) -> float:
    return statistics.mean(values_of(rows, column))


def seconds_of(rows: list[dict]) -> str:
    return f"{statistics.median(values_of(rows, 'seconds')):.0f}"


# the headers --------------------------------------------------------------------------------------------------------


def commands(text: str) -> list[str]:
    """The commands under Expected in the header of a file of algos/."""
    return re.findall(r"^python (algos/.*)", entries(text)["Expected"], re.MULTILINE)


def sentence(command: str) -> str:
    """What a header says of one command. Raises LookupError if no suite has run it with today's defaults."""
    key, file = settings_key(command), shlex.split(command)[0]
    for suite in SUITES:
        rows = [row for row in results(suite) if row["settings"] == key and row["command"].split()[0] == file]
        if not rows:
            continue
        if len(values_of(rows, "seconds")) < len(rows):
            raise LookupError(f"some runs of `python {command}` failed: its header cannot quote them")
        end = f"{len(rows)} seeds, {seconds_of(rows)} s each on {where(rows)}"
        if not values_of(rows, "coverage"):
            return f"swd {cell(rows, 'swd')}, distance {cell(rows, 'distance')}; {end}"
        modes = f"{cell(rows, 'coverage')} of {MODES[rows[0]['dataset']]}"
        return f"coverage {modes}, sharp {average(rows, 'high_quality'):.2f}; {end}"
    raise LookupError(f"no suite has run `python {command}` as its defaults are now: scripts/benchmark.py")


def with_expected(text: str) -> str:
    """A file of algos/ with its header's Expected as the results are: two lines for each command."""
    head, rest = text.split("\nExpected", 1)
    lines = [line for found in commands(text) for line in (f"python {found}", sentence(found))]
    expected = "\n".join(" " * INDENT + line for line in lines).strip()
    return f'{head}\n{"Expected":{INDENT}}{expected}\n"""{rest.split(chr(34) * 3, 1)[1]}'


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
        "from the rows in each suite's runs.csv. [`scripts/lib/claims.py`](../scripts/lib/claims.py) has the claims, "
        "[`scripts/lib/statistics.py`](../scripts/lib/statistics.py) the rule of the verdicts. "
        f"{summary(verdicts)}",
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


# the pages ----------------------------------------------------------------------------------------------------------


def body(algo: str) -> list[str]:
    """The lines of a file of algos/ without its header and PRESETS: what a reader compares."""
    text = (ROOT / "algos" / f"{algo}.py").read_text()
    header, *statements = ast.parse(text).body
    lines = text.splitlines()
    hidden = [item for item in statements if isinstance(item, ast.Assign) and item.targets[0].id == "PRESETS"]
    for item in reversed(hidden):
        del lines[item.lineno - 1 : item.end_lineno]
    return lines[header.end_lineno :]


def changed_lines(algo: str) -> str:
    """Lines of code added to and removed from nsgan.py, without header, settings and empty lines."""
    lines = [*difflib.unified_diff(body("nsgan"), body(algo), n=0, lineterm="")][2:]
    marks = [line[0] for line in lines if line[0] in "+-" and line[1:].strip()]
    return f"+{marks.count('+')} -{marks.count('-')}" if marks else "reference"


def diff_block() -> list[str]:
    """`diff -U0` of nsgan.py and wgan_gp.py from the networks on: without headers, imports and settings.

    In each `@@` line there is the function, not the line numbers, which another header would change.
    """
    old, new = ((ROOT / "algos" / f"{name}.py").read_text().splitlines() for name in ("nsgan", "wgan_gp"))
    first, second, *lines = difflib.unified_diff(old, new, "algos/nsgan.py", "algos/wgan_gp.py", n=0, lineterm="")
    start, kept = new.index("class Generator(nn.Module):"), []
    for line in lines:
        if place := re.match(r"@@ -\S+ \+(\d+)", line):
            above = new[: int(place[1])]
            names = re.findall(r"^(?:class|def) (\w+)", "\n".join(above), re.MULTILINE)
            line = f"@@ {names[-1] if names else ''} @@"
        kept += [line] if len(above) > start else []
    return ["```diff", first, second, *kept, "```", ""]


def quick_rows(algos: list[str]) -> dict[tuple[str, str], list[dict]]:
    """The rows of the suite quick, by data set and file. Raises LookupError if a file has none."""
    found = {(data, algo): rows_of("quick", data, algo) for data in ("ring", "grid") for algo in algos}
    if missing := [f"{algo} on {data}" for (data, algo), rows in found.items() if not rows]:
        raise LookupError(f"`python scripts/benchmark.py quick` has not run {', '.join(missing)}")
    return found


def seeds_of(found: dict[tuple[str, str], list[dict]], data: str) -> str:
    """How many seeds the files had on a data set: "10", or "8-10"."""
    return "-".join(map(str, sorted({len(rows) for (name, _), rows in found.items() if name == data})))


def working(algo: str, dataset: str) -> str:
    """In how many of the settings of the search a file reaches the goal: "3 of 12"."""
    these = search.searched(results("search"), algo, dataset)
    return f"{sum(map(search.reached, these))} of {len(these)}" if these else "-"


def files_table() -> list[str]:
    """The README's table: each file with its paper, what it remedies, how much of it is new and what it reaches."""
    found = quick_rows([*ALGOS, *CONTROLS])
    n = {data: seeds_of(quick_rows(ALGOS), data) for data in ("ring", "grid")}
    head = ["file and paper", "remedies", "lines changed"]
    head += [f"{data} (n = {n[data]}): modes covered of {MODES[data]}, sharp" for data in ("ring", "grid")]
    head.append("settings that work: ring, digits")
    cells = []
    for algo in ALGOS:
        text, address = paper(algo)
        cells.append([f"[`{algo}.py`](algos/{algo}.py), [{text}]({address})", remedies(algo), changed_lines(algo)])
        for rows in (found["ring", algo], found["grid", algo]):
            cells[-1].append(f"{cell(rows, 'coverage')}, {average(rows, 'high_quality'):.2f}")
        cells[-1].append(", ".join(working(algo, data) for data in ("ring", "digits")))
    for control in CONTROLS:
        both = [found[data, control] for data in ("ring", "grid")]
        cells.append(
            [control, "", "", *(f"{average(r, 'coverage'):.1f}, {average(r, 'high_quality'):.2f}" for r in both), ""]
        )
    return table(head, cells)


def quick_table() -> list[str]:
    """The same numbers in full, with their intervals, seconds and films."""
    found, cells = quick_rows(ALGOS), []
    names = {"coverage": "modes covered", "high_quality": "sharp", "w1": "w1"}
    head = ["file"]
    for data in ("ring", "grid"):
        first, *others = names.values()
        head += [f"{data} (n = {seeds_of(found, data)}): {first} of {MODES[data]}", *others, "seconds"]
    for algo in ALGOS:
        cells.append([f"[`{algo}.py`](../algos/{algo}.py)"])
        for data in ("ring", "grid"):
            cells[-1] += [*(cell(found[data, algo], column) for column in names), seconds_of(found[data, algo])]
        cells[-1].append(f"[film](quick/{algo}-ring.gif)")
    for control in CONTROLS:
        cells.append([control])
        for data in ("ring", "grid"):
            cells[-1] += [*(cell(rows_of("quick", data, control), column) for column in names), ""]
        cells[-1].append("")
    return table([*head, "film"], cells)


def suites_table() -> list[str]:
    """The table of the suites that have been run."""
    cells = []
    for name, suite in SUITES.items():
        planned = {row.label: int(row.flags["steps"]) for row in suite.rows if "steps" in row.flags}
        if runs := [row for row in results(name) if row["label"] not in CONTROLS]:
            shares = [int(row["steps"]) / planned.get(row["label"], int(row["steps"])) for row in runs]
            cells.append([f"[`{name}`]({name}/table.md)", suite.title, len(runs), f"{100 * min(shares):.3g} %"])
    return table(["suite", "what it compares", "runs", "of the protocol's updates"], cells)


def speed_tables() -> list[str]:
    """A table for each device on which scripts/speed.py measured the updates: batches of 64, of all files."""
    lines = [""]
    for path in sorted((ROOT / "results" / "speed").glob("*/updates.csv")):
        rows = [row for row in read_rows(path) if row["batch_size"] == "64"]
        way = "graph" if any(row.get("graph ms") for row in rows) else "eager"
        amp = "graph amp" if way == "graph" else "amp"
        found = {(row["algo"], row["dataset"]): row for row in rows}
        names = dict.fromkeys(row["dataset"] for row in rows)
        measured = {name: [algo for algo in ALGOS if (algo, name) in found] for name in names}
        algos = max(measured.values(), key=len)
        sets = [name for name in names if measured[name] == algos]
        what = [(f"{way} ms", "ms"), (f"{way} ratio", "times as fast"), (f"{amp} ratio", "in bfloat16")]
        columns = [(name, column, title) for name in sets for column, title in what[: 2 if name == "grid" else 3]]
        cells = []
        for algo in algos:
            values = [found[algo, name][column] for name, column, _ in columns]
            shorter = [short if column.endswith("ms") else two_decimals for _, column, _ in columns]
            cells.append([f"`{algo}.py`", *(f(value) for f, value in zip(shorter, values, strict=True))])
        head = ["file", *(f"{name}, {what}" for name, _, what in columns)]
        device = json.loads((path.parent / "limits.json").read_text())["device"]
        titles = {"updates": "all updates", "ablation": "what each trick gains", "result": "seconds to a result"}
        pages = [path.with_name(f"{name}.md") for name in titles]
        links = [f"[{titles[p.stem]}]({p.parent.name}/{p.name})" for p in pages if p.exists()]
        lines += [f"On {device} ({', '.join(links)}), batches of 64:", "", *table(head, cells)]
    return lines


def two_decimals(number: str) -> str:
    return f"{float(number):.2f}" if number else "-"


def peers_tables() -> list[str]:
    """A table for each device on which scripts/peers.py ran other people's scripts."""
    lines = [""]
    for path in sorted((ROOT / "results" / "speed").glob("*/peers.csv")):
        cells = []
        for row in read_rows(path):
            script = " ".join([Path(row["script"]).parts[0], Path(row["script"]).name])
            cells.append([script, row["flags"] and f"`{row['flags']}`", f"`{row['algo']}.py`", row["shape"]])
            cells[-1] += [two_decimals(row[f"{way} ratio"]) for way in ("ours", "amp", "one pass", "one pass, amp")]
        head = ["script", "flags", "our file", "images", "times as fast", "in bfloat16", "one pass of G"]
        head.append("one pass, in bfloat16")
        device = json.loads((path.parent / "limits.json").read_text())["device"]
        page = f"{path.parent.name}/{path.stem}.md"
        lines += [f"On {device} ([with the times]({page})):", "", *table(head, cells)]
    return lines


PAGES = {  # page: what stands between its marks
    "README.md": {"files": files_table, "diff": diff_block},
    "results/README.md": {"quick": quick_table, "suites": suites_table},
    "results/speed/README.md": {"speed": speed_tables, "peers": peers_tables},
}


def with_results(text: str, page: str) -> str:
    """A page with what stands between its marks as the results are. Raises LookupError if a mark is missing."""
    for name, lines in PAGES[page].items():
        begin, end = f"<!-- {name}: scripts/report.py -->\n", f"<!-- end of {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise LookupError(f"there must be one `{begin.strip()}` and, below it, one `{end}`")
        before, rest = text.split(begin)
        text = before + begin + "\n".join(lines()) + end + rest.split(end)[1]
    return text


def quoting() -> dict[Path, Callable[[str], str]]:
    """The files that quote results, and for each the function that renews its text."""
    files = {ROOT / page: partial(with_results, page=page) for page in PAGES}
    files |= {ROOT / "results" / "CLAIMS.md": lambda _: claims_page()}
    return files | {ROOT / "algos" / f"{algo}.py": with_expected for algo in ALGOS}


def main(args: Args) -> None:
    stale = {}
    for path, renewed in quoting().items():
        old = path.read_text() if path.exists() else ""
        try:
            new = renewed(old)
        except (LookupError, ValueError) as error:
            raise RunError(f"{path.relative_to(ROOT)}: {error}") from None
        if new != old:
            stale[path] = new
    for path, new in stale.items():  # all or nothing
        if not args.check:
            path.write_text(new)
        print(f"{path.relative_to(ROOT)} {'is stale' if args.check else 'is renewed'}")
    if args.check and stale:
        sys.exit(1)


if __name__ == "__main__":
    command(main, Args, __doc__)
