"""results/CLAIMS.md: the claims of scripts/lib/claims.py, judged by the rules of scripts/lib/statistics.py."""

from dataclasses import dataclass
from functools import cache

if __name__ == "__main__":
    raise SystemExit("this is a library; the command that judges the claims is: python scripts/report.py")

from scipy.stats import false_discovery_control

from scripts.lib.claims import BASELINES, BESIDE, CLAIMS, COMPARED, KINDS, LOWER, MARGINS, MODES_MARGIN, Claim
from scripts.lib.headers import ALGOS
from scripts.lib.statistics import (
    LOOKS,
    cell,
    columns_of,
    count,
    decided,
    judge,
    limits,
    needed,
    p_value,
    values_of,
)
from scripts.lib.suites import SUITES, read
from scripts.lib.tables import table


@cache
def results(suite: str) -> list[dict]:
    return read(suite)


def rows_of(suite: str, dataset: str, label: str) -> list[dict]:
    return [row for row in results(suite) if row["label"] == label and row["dataset"] == dataset]


@dataclass
class Finding:
    """A claim, the runs of both sides, their values (x, y: of x more is better for the claim's row), p and verdict."""

    claim: Claim
    rows: tuple[list[dict], list[dict]]
    x: list[float]
    y: list[float]
    looks: int
    q: float = 1.0
    """p corrected for the looks and for the other claims of the family"""
    said: str = "undecided"


def judged(claims: list[Claim]) -> dict[Claim, Finding]:
    """The findings of all claims of which both sides have two runs or more: of one run there is no spread."""
    found = {}
    for claim in claims:
        other = claim.other_suite or claim.suite
        rows = rows_of(claim.suite, claim.dataset, claim.ours), rows_of(other, claim.dataset, claim.other)
        x, y = (values_of(side, claim.column) for side in rows)
        if min(len(x), len(y)) > 1:
            looks = max(SUITES[suite].looks for suite in (claim.suite, other)) if claim.column == "success" else 1
            found[claim] = Finding(claim, rows, *((y, x) if claim.column in LOWER else (x, y)), looks)
    for family in dict.fromkeys(claim.family for claim in found):
        these = [finding for claim, finding in found.items() if claim.family == family]
        ps = [min(1.0, finding.looks * p_value(finding.x, finding.y)) for finding in these]
        for finding, q in zip(these, false_discovery_control(ps), strict=True):
            finding.q = float(q)
            ended = [row for side in finding.rows for row in side if not row["status"].startswith("failed")]
            if len(ended) == len(finding.x) + len(finding.y):  # no diverged run lacks the number
                finding.said = judge(finding.x, finding.y, finding.claim.margin, finding.q, finding.looks)
    return found


def verdict(finding: Finding | None) -> str:
    """The verdict; of one that is undecided, how many seeds per side would decide."""
    if finding is None:
        return "not run"
    if finding.said != "undecided":
        return finding.said
    return f"undecided (n {needed(finding.x, finding.y, finding.claim.margin, finding.looks)})"


def against(dataset: str, found: dict[Claim, Finding]) -> list[str]:
    """The table of all files on a data set beside the baselines."""
    cells, (suite, distance, _) = [], BESIDE[dataset]
    for algo in ALGOS:
        rows = rows_of(suite, dataset, algo)
        cells.append([f"`{algo}.py`"])
        for column, shown in [("success", count(rows)), (distance, cell(rows, distance))]:
            cells[-1].append(shown)
            for kind in BASELINES:
                key = [c for c in COMPARED if (c.kind, c.ours, c.dataset, c.column) == (kind, algo, dataset, column)]
                cells[-1].append(verdict(found.get(key[0])) if key else "-")
    names = [f"against {name}" for name in BASELINES.values()]
    return table(["file", "success", *names, distance, *names], cells)


def line(claim: Claim, finding: Finding | None) -> list[str]:
    """The line of a claim in its table."""
    link = f"[{claim.suite}]({claim.suite}/table.md)" if results(claim.suite) else f"`{claim.suite}`"
    cells = [claim.text, claim.source, f"{link}, {claim.dataset}, {claim.column}"]
    registered = {"": "with this revision", "after": "after its runs"}.get(claim.registered, f"`{claim.registered}`")
    if finding is None:
        return [*cells, claim.ours, claim.other, "-", "-", claim.expected, "not run", registered]
    digits = columns_of(claim.dataset)[claim.column]
    for label, rows in zip((claim.ours, claim.other), finding.rows, strict=True):
        n = "" if claim.column == "success" else f", n = {len(rows)}"
        cells.append(f"{label}: {cell(rows, claim.column)}{n}")
    low, high = limits(finding.x, finding.y, 1 - 0.1 / finding.looks)
    mean = sum(finding.x) / len(finding.x) - sum(finding.y) / len(finding.y)
    spread = f" [{low:+.{digits}f}, {high:+.{digits}f}]" if abs(low) < float("inf") else ""
    said = verdict(finding)
    said = f"**{said}**" if said == claim.expected else said
    return [*cells, f"{mean:+.{digits}f}{spread}", f"{finding.q:.2g}", claim.expected, said, registered]


def summary(claims: list[Claim], found: dict[Claim, Finding]) -> str:
    """How many claims fared how, in a sentence."""
    said = {claim: found[claim].said if claim in found else "not run" for claim in claims}
    held = sum(said[claim] == claim.expected for claim in claims)
    open_, missing = (sum(verdict == word for verdict in said.values()) for word in ("undecided", "not run"))
    rest = len(claims) - held - open_ - missing
    return f"Of {len(claims)}: {held} found as expected, {rest} otherwise, {open_} undecided, {missing} not run."


def tally(found: dict[Claim, Finding]) -> list[str]:
    """How many files are better, worse, equivalent, undecided, against each baseline."""
    cells = []
    for kind, name in BASELINES.items():
        for first, column in ((True, "success"), (False, "distance")):
            these = [c for c in COMPARED if c.kind == kind and (c.column == "success") == first]
            said = [found[c].said if c in found else "not run" for c in these]
            words = ("better", "worse", "equivalent", "undecided", "not run")
            cells.append([f"against {name}", column, *(said.count(word) for word in words)])
    return table(["", "outcome", "better", "worse", "equivalent", "undecided", "not run"], cells)


def claims_page() -> str:
    found = judged(COMPARED) | judged(CLAIMS)
    margins = [f"{name} {margin:g}" for name, margin in MARGINS.items()]
    margins += [f"modes {margin} ({dataset})" for dataset, margin in MODES_MARGIN.items()] + ["sure_modes as modes"]
    lines = [
        "# Claims",
        "",
        "What papers, lecture notes and this project say, held against the runs in this folder. Made by `python "
        "scripts/report.py`; the claims are in [`scripts/lib/claims.py`](../scripts/lib/claims.py), the rules in "
        "[`scripts/lib/statistics.py`](../scripts/lib/statistics.py).",
        "",
        "- **Outcome.** First *success*: a run covers all modes, and half of its samples or more are sharp (of images: "
        "[goals](README.md#how-to-read-the-numbers)). A blur or a few modes is no success. Other outcomes come second.",
        "- **Verdicts.** *equivalent*: the 90 % interval of the difference lies within the margin. Else *better* or "
        "*worse*: q is at most 0.05. Else *undecided*, and n is the number of seeds on each side that would decide if "
        "the same values came again and again, and this were the only comparison. They are symmetric, but where both "
        "rows succeed on every seed, or have all modes, neither can be found better.",
        "- **q** is the p of Barnard's exact test (success) or of a permutation test (means), corrected for all "
        "comparisons of the same kind and rank of outcome (Benjamini and Hochberg). *equivalent* is not corrected: it "
        "errs in at most one of 20 comparisons whose true difference is the margin. `difference` has the interval by "
        "which *equivalent* is judged in brackets; *better* and *worse* are by q, and may go with a bracket around 0.",
        f"- **Margins**: {', '.join(margins)}.",
        "- **Seeds** of `quick` and `baselines` come in blocks of five, up to thirty, until success is decided. For "
        f"{LOOKS} looks its levels are divided by {LOOKS}: p counts {LOOKS} times, and the interval of *equivalent* is "
        "of 98.3 %. That is the price of stopping early. So far the files have twenty or more on the ring and ten on "
        "the grid, and what is undecided would want hours more. `zero-centred` had ten on the grid, and in a second "
        "look three more, of five that were planned: its levels are divided by 2. The other suites are judged as if "
        "their number of seeds had been fixed beforehand: more for what they leave undecided would be a second look.",
        "- **Registered**: the commit in which a claim was first written as it stands. Those *after its runs* were "
        "restated when the numbers were known, as the comparisons with `nsgan.py` and `gan.py` were: they describe "
        "these runs, and only new seeds can test them. Those with a file's own learning rate and beta1, on the grid "
        "and on digits, were written down when the file had run and this baseline had not.",
        "- **Shared runs.** The comparisons with one baseline share its runs, so a lucky baseline would move all of "
        "them. `quick`, `longer`, `networks`, `stabilisers`, `packing`, `unrolled-k`, `dragan-c`, `mlegan`, "
        "`dual-d-ring` and `images` begin at the same seed, and rows of the same command are the same runs. "
        "Seeds 61 to 65 are the last of seven files in `quick` and the first of `baselines`: no run is the same, but "
        "weights and noise begin from the same seed, which these tests take for independent.",
        "- `nsgan.py` has its own number of updates with the other files' learning rates and beta1, too; on the grid "
        "six files, `gan.py` among them, have twice as many as the rest.",
        "",
        "`difference` is positive where the row is better than the one it is held against. A bold verdict is the "
        "expected one. All verdicts are about these files with the networks, settings and budgets of each table.",
        "",
        "## Every file against the baselines",
        "",
        *tally(found),
    ]
    for dataset in BESIDE:
        lines += [f"### {dataset}", "", *against(dataset, found)]
    head = ["claim", "source", "where", "row", "against", "difference", "q", "expected", "found", "registered"]
    for kind, title in KINDS.items():
        these = [claim for claim in CLAIMS if claim.kind == kind]
        cells = [line(claim, found.get(claim)) for claim in these]
        keep = [i for i in range(len(head)) if any(row[i] for row in cells)]  # the project's own have no source
        body = table([head[i] for i in keep], [[row[i] for i in keep] for row in cells])
        lines += [f"## {title}", "", summary(these, found), "", *body]
    return "\n".join(lines)


def to_run() -> list[str]:
    """What to run next: suites that were not run, and of `quick` the files whose success is not decided."""
    lines = [f"python scripts/benchmark.py {name}" for name in SUITES if not results(name)]
    open_: dict[tuple[str, str], list[str]] = {}
    for claim, finding in judged([claim for claim in COMPARED if claim.column == "success"]).items():
        if finding.looks == LOOKS and not decided(finding.x, finding.y, claim.margin):
            n = needed(finding.x, finding.y, claim.margin, LOOKS)
            open_.setdefault((claim.ours, claim.dataset), []).append(f"{claim.other} (n {n})")
    for (algo, dataset), others in open_.items():
        n = len(rows_of("quick", dataset, algo))
        lines.append(f"{algo}, {dataset}: {n} seeds leave it undecided against {', '.join(others)}")
    return lines
