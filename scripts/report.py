"""Puts the numbers of results/ where people read them: the pages, the headers' Expected, results/CLAIMS.md.

    python scripts/report.py            # writes
    python scripts/report.py --check    # only says what is stale, and then ends with status 1
    python scripts/report.py --next     # only says what to run next

All from the runs.csv of the suites, which scripts/benchmark.py writes, and from the tables of scripts/speed.py and
scripts/peers.py. On a page it renews what stands between `<!-- NAME: scripts/report.py -->` and `<!-- end of NAME -->`.
"""

import ast
import difflib
import json
import re
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.args import RunError
from scripts.benchmark import page
from scripts.lib import search
from scripts.lib.command import command
from scripts.lib.headers import ALGOS, INDENT, entries, paper, remedies
from scripts.lib.statistics import MODES, cell, count, values_of
from scripts.lib.suites import CONTROLS, EXACT, REPEATED, ROOT, SUITES, settings_key
from scripts.lib.tables import read_rows, short, table, two_decimals, where
from scripts.lib.verdicts import claims_page, results, rows_of, to_run

IMAGE_SETS = {"digits": "digits", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}


@dataclass
class Args:
    check: bool = False
    """write nothing, say what is stale"""
    next: bool = False
    """write nothing, say what to run next: what is not run, and what more seeds would decide"""


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
        end = f"{seconds_of(rows)} s each on {where(rows)}"
        if not values_of(rows, "coverage"):
            return f"success {count(rows)}: FID {average(rows, 'fid'):.2f} by a small classifier; {end}"
        modes = f"{average(rows, 'coverage'):.1f} of {MODES[rows[0]['dataset']]}"
        return f"success {count(rows)}: coverage {modes}, sharp {average(rows, 'high_quality'):.2f}; {end}"
    raise LookupError(f"no suite has run `python {command}` as its defaults are now: scripts/benchmark.py")


def with_expected(text: str) -> str:
    """A file of algos/ with its header's Expected as the results are: two lines for each command."""
    head, rest = text.split("\nExpected", 1)
    lines = [line for found in commands(text) for line in (f"python {found}", sentence(found))]
    expected = "\n".join(" " * INDENT + line for line in lines).strip()
    return f'{head}\n{"Expected":{INDENT}}{expected}\n"""{rest.split(chr(34) * 3, 1)[1]}'


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
        kept += [line] if len(above) > start and line != "+" else []
    return ["```diff", first, second, *kept, "```", ""]


def quick_rows(algos: list[str]) -> dict[tuple[str, str], list[dict]]:
    """The rows of the suite quick, by data set and file. Raises LookupError if a file has none."""
    found = {(data, algo): rows_of("quick", data, algo) for data in ("ring", "grid") for algo in algos}
    if missing := [f"{algo} on {data}" for (data, algo), rows in found.items() if not rows]:
        raise LookupError(f"`python scripts/benchmark.py quick` has not run {', '.join(missing)}")
    return found


def files_table() -> list[str]:
    """The README's table: each file with its paper, what it remedies, how much of it is new and what it reaches."""
    found = quick_rows(ALGOS)
    sets, cells = ("ring", "grid", "digits"), []
    for algo in ALGOS:
        text, address = paper(algo)
        work = ", ".join(search.working(results("search"), algo, data).split()[0] for data in sets)
        runs = [found["ring", algo], found["grid", algo], rows_of("images", "digits", algo)]
        cells.append([f"[`{algo}.py`](algos/{algo}.py)", f"[{text}]({address})", remedies(algo), changed_lines(algo)])
        cells[-1] += [*map(count, runs), work or "-", seconds_of(runs[0])]
    head = ["file", "paper", "remedies", "lines changed", "success: ring", "grid", "digits"]
    return table([*head, f"settings that work, of 12: {', '.join(sets)}", "seconds"], cells)


def quick_table() -> list[str]:
    """The numbers of the ring and the grid in full, with their intervals, seconds and films."""
    found, cells = quick_rows([*ALGOS, *CONTROLS]), []
    names = {"success": "success", "coverage": "modes covered of {}", "high_quality": "sharp", "w1": "w1"}
    head = ["file"]
    for data in ("ring", "grid"):
        first, *others = (name.format(MODES[data]) for name in names.values())
        head += [f"{data}: {first}", *others, "seconds"]
    for algo in [*ALGOS, *CONTROLS]:
        cells.append([algo if algo in CONTROLS else f"[`{algo}.py`](../algos/{algo}.py)"])
        for data in ("ring", "grid"):
            rows = found[data, algo]
            cells[-1] += [*(cell(rows, column) for column in names), "" if algo in CONTROLS else seconds_of(rows)]
        cells[-1].append("" if algo in CONTROLS else f"[film](quick/{algo}-ring.gif)")
    return table([*head, "film"], cells)


def images_table() -> list[str]:
    """The README's table of the five files that come nearest to MNIST, and of nsgan.py; then real images."""
    found = {(data, algo): rows_of("images", data, algo) for data in IMAGE_SETS for algo in [*ALGOS, EXACT]}
    order = sorted((a for a in ALGOS if found["mnist", a]), key=lambda algo: average(found["mnist", algo], "fid"))
    cells = []
    for algo in [*dict.fromkeys([*order[:5], "nsgan"]), EXACT]:
        cells.append(["real images" if algo == EXACT else f"[`{algo}.py`](algos/{algo}.py)"])
        for data in IMAGE_SETS:
            rows = found[data, algo]
            cells[-1] += [f"{average(rows, 'fid'):.2f}" if rows else "-"]
        cells[-1].append(f"{average(found['mnist', algo], 'unsure'):.2f}")
    return table(["FID", *IMAGE_SETS.values(), "MNIST: unsure"], cells)


def suites_table() -> list[str]:
    """The table of the suites: those that have been run, and those that have not."""
    cells = []
    for name, suite in SUITES.items():
        runs = [row for row in results(name) if row["label"] not in (*CONTROLS, REPEATED)]
        cells.append([f"[`{name}`]({name}/table.md)" if runs else f"`{name}`", suite.title, len(runs)])
    return table(["suite", "what it compares", "runs"], cells)


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
    "README.md": {"files": files_table, "diff": diff_block, "images": images_table},
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
    for name, suite in SUITES.items():
        if rows := results(name):
            files[ROOT / "results" / name / "table.md"] = lambda _, args=(name, suite, rows): page(*args)
    return files | {ROOT / "algos" / f"{algo}.py": with_expected for algo in ALGOS}


def main(args: Args) -> None:
    if args.next:
        print("\n".join(to_run()))
        return
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
