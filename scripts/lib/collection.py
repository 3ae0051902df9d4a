"""The page of the whole collection, results/index.html, made from the sources and from results/; and its films."""

import difflib
import re
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this is a library; the command that uses it is: python scripts/page.py")

import torch
from markdown_it import MarkdownIt
from PIL import Image
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import DiffLexer, PythonLexer

from common.args import RunError
from scripts import report
from scripts.lib import films, search, verdicts
from scripts.lib.claims import CLAIMS, KINDS, Claim
from scripts.lib.headers import ALGOS, header, paper, remedies
from scripts.lib.pages import COLORS, NAMES, chart, said, sheet, view, webp, write
from scripts.lib.statistics import cell
from scripts.lib.suites import EXACT, ROOT, SUITES

FILMS = {"ring": "eight Gaussians", "grid": "25 Gaussians", "digits": "real images of 8x8"}
RESULTS = ROOT / "results"
ERRORS = "errors-in-print"
QUALITIES = (30, 22, 15, 8)  # of WebP
ALL_FILMS = 2.8e6  # bytes that the films may have of a page of 5 MB


# films --------------------------------------------------------------------------------------------------------------


def recorded(algo: str, dataset: str) -> Path:
    return RESULTS / "page" / f"{algo}-{dataset}.npz"


def is_of_today(film: films.Film) -> bool:
    """Whether a film was recorded with the settings that its file has now."""
    return film.about["key"] == films.key(film.about["algo"], film.about["dataset"])


def record(datasets: list[str]) -> None:
    """Trains all files on these data sets, but those whose film has today's settings."""
    if unknown := set(datasets) - set(FILMS):
        raise RunError(f"--record {' '.join(sorted(unknown))}: there are {', '.join(FILMS)}")
    torch.set_num_threads(1)
    for dataset in datasets:
        for algo in ALGOS:
            path = recorded(algo, dataset)
            if not path.exists() or not is_of_today(films.read(path)):
                film = films.record(algo, dataset)
                films.write(film, path)
                print(f"{path.relative_to(ROOT)}: {film.about['seconds']} s, {path.stat().st_size / 1e3:.0f} kB")


def stored() -> dict[tuple[str, str], films.Film]:
    """All films there are. Prints which are missing, or older than their file's settings."""
    there = {}
    for algo, dataset in ((algo, dataset) for dataset in FILMS for algo in ALGOS):
        if recorded(algo, dataset).exists():
            there[algo, dataset] = films.read(recorded(algo, dataset))
        film = there.get((algo, dataset))
        if film is None or not is_of_today(film):
            state = "is of other settings than today's" if film else "is missing"
            print(f"the film of {algo} on {dataset} {state}: python scripts/page.py --record {dataset}")
    return there


def film_views(there: dict) -> dict[tuple[str, str], dict]:
    """All films for the template; their frames are at the same shares of each training."""
    found = {}
    for (algo, dataset), film in there.items():
        frames, n = film.about["frames"], len(film.about["frames"])
        shown = [round(i * (n - 1) / (films.FRAMES - 1)) for i in range(films.FRAMES)]
        captions = [said(numbers, dataset) for numbers in frames]
        alt = f"Samples of {algo} on {dataset}" + (" over the landscape of D" if film.landscape.size else "")
        name = f"{algo}-{dataset}"
        title = algo if is_of_today(film) else f"{algo}, other settings"
        found[algo, dataset] = view(name, title, alt, captions, shown, link=algo, pixels=not film.landscape.size)
    return found


def packed(pictures: dict[str, list[Image.Image]]) -> list[tuple[str, int, str]]:
    """The sheets of all films for the template, in the best quality in which they fit into the page."""
    for quality in QUALITIES:
        sheets = [(name, len(frames), sheet(frames, quality)) for name, frames in pictures.items()]
        if sum(len(text) for *_, text in sheets) <= ALL_FILMS:
            break
    return sheets


# text ---------------------------------------------------------------------------------------------------------------


def rewritten(html: str, folder: str) -> str:
    """HTML made of a page in this folder of results/, with links that lead from results/index.html.

    A file of algos/ and a demonstration have a place on the page; what is outside of results/ is no link.
    """

    def link(found: re.Match) -> str:
        address, inside = found[1], found[2]
        if address.startswith(("http", "#")):
            return found[0]
        target = (RESULTS / folder / address.partition("#")[0]).resolve()
        if target.parent == ROOT / "algos" and target.suffix == ".py":
            return f'<a href="#{target.stem}">{inside}</a>'
        if target.parent == RESULTS / "pathologies" and target.stem in demonstrations():
            return f'<a href="#demo-{target.stem}">{inside}</a>'
        if target.is_relative_to(RESULTS) and target.exists():
            return f'<a href="{target.relative_to(RESULTS)}">{inside}</a>'
        return inside

    html = re.sub(r'<a href="([^"]*)">(.*?)</a>', link, html)
    html = re.sub(r"<table>", '<div class="wide" tabindex="0" role="region" aria-label="Table"><table>', html)
    return html.replace("</table>", "</table></div>")


def html_of(markdown: str, folder: str = ".") -> str:
    return rewritten(MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown), folder)


@cache
def demonstrations() -> dict[str, str]:
    """What to see in each demonstration, in the order of their page; errors in print last."""
    page = (RESULTS / "pathologies" / "README.md").read_text()
    rows = dict(re.findall(r"^\| \[`([\w-]+)`\]\(\S+\) \| (.*?) \|$", page, re.MULTILINE))
    return {name: what for name, what in rows.items() if name != ERRORS} | {ERRORS: rows[ERRORS]}


def demonstration(name: str, what: str) -> dict:
    """A demonstration for the template: its page without title, first sentence and figure, which stand apart."""
    text = (RESULTS / "pathologies" / f"{name}.md").read_text()
    text = text.partition(f"![{name}]({name}.png)")[2]
    with Image.open(RESULTS / "pathologies" / f"{name}.png") as figure:
        figure = figure.convert("RGB")
        figure.thumbnail((1000, 1000), Image.Resampling.LANCZOS)
    text = html_of(text, "pathologies")
    return {"name": name, "what": what, "figure": webp(figure, 50), "size": figure.size, "text": text}


def diff(algo: str) -> str:
    """The lines that a file changes in nsgan.py, with two of context; of nsgan.py all lines. Without settings."""
    old, new = report.body("nsgan"), report.body(algo)
    if algo == "nsgan":
        return highlight("\n".join(new), PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))
    lines = [*difflib.unified_diff(old, new, n=2, lineterm="")][2:]
    return highlight("\n".join(lines), DiffLexer(stripnl=False), HtmlFormatter(nowrap=True))


# numbers ------------------------------------------------------------------------------------------------------------


def is_about(claim: Claim, algo: str) -> bool:
    """Whether the row on which a claim stands is of this file."""
    rows = [row for row in SUITES[claim.suite].rows if row.label == claim.ours] if claim.suite in SUITES else []
    return any(row.algo == algo for row in rows)


@cache
def findings() -> dict[Claim, verdicts.Finding]:
    return verdicts.judged(CLAIMS)


def claim_of(claim: Claim) -> dict:
    finding = findings().get(claim)
    said, numbers = verdicts.verdict(finding), claim.column
    if finding:
        parts = zip((claim.ours, claim.other), finding.rows, strict=True)
        numbers += ", " + " against ".join(f"{label}: {cell(rows, claim.column)}" for label, rows in parts)
    kind = "good" if said == claim.expected else "soft" if said.startswith(("undecided", "not run")) else "bad"
    source, where = claim.source or "this project", f"{claim.dataset}, {numbers}"
    return {"text": claim.text, "source": source, "numbers": where, "verdict": said, "kind": kind}


def numbers_of(algo: str) -> tuple[list[str], list[list[str]]]:
    """The rows of a file in the tables of the ring and the grid, each above that of an exact sampler."""
    rows = []
    for dataset in ("ring", "grid"):
        for label in (algo, EXACT):
            these = report.rows_of("quick", dataset, label)
            name = f"{dataset}, n = {len(these)}" if label == algo else f"{dataset}, {label}"
            columns = ["success", "coverage", "high_quality", "w1"]
            columns = [cell(these, column) if these else "-" for column in columns]
            rows.append([name, *columns, report.seconds_of(these) if these and label == algo else ""])
    return ["data", "success", "modes covered", "sharp", "w1", "seconds"], rows


def film_charts(algo: str, there: dict) -> list[dict]:
    """The curves of the films of a file: what it reaches on each data set, and its losses on the ring."""
    found = []
    for dataset, film in ((dataset, there.get((algo, dataset))) for dataset in FILMS):
        if film is None:
            continue
        frames, end = film.about["frames"], film.about["steps"]
        shares = {"share of modes covered": ("coverage", report.MODES.get(dataset, 1)), "sharp": ("high_quality", 1)}
        shares = shares if dataset in report.MODES else {"swd, the distance to the data": ("swd", 1)}
        found.append((dataset, end, frames, shares, COLORS[2:4]))
        if dataset == "ring":
            found.append((dataset, end, frames, {NAMES[loss]: (loss, 1) for loss in ("d_loss", "g_loss")}, COLORS))
    drawn = []
    for dataset, end, frames, columns, colors in found:
        lines = [
            [(f["step"], f[name] / most if name in f else None) for f in frames] for name, most in columns.values()
        ]
        drawn.append(chart(f"On {dataset}", [*columns], lines, end, colors, legend=True))
    return [one for one in drawn if one]


def part(algo: str, there: dict, views: dict) -> dict:
    """What the page says of a file."""
    about, (text, address) = header(algo), paper(algo)
    doc = (ROOT / "algos" / f"{algo}.py").read_text().partition('"""')[2].partition("\n")[0]
    head, rows = numbers_of(algo)
    suites = [
        name for name, suite in SUITES.items() if any(r.algo == algo for r in suite.rows) and report.results(name)
    ]
    working = {data: search.working(report.results("search"), algo, data) for data in search.RATES}
    working = ", ".join(f"{found} on {data}" for data, found in working.items() if found != "-")
    changed = report.changed_lines(algo)
    return {
        "name": algo, "what": doc, "paper": text, "address": address, "remedies": remedies(algo),
        "objective": re.sub(r"\n(?!G )", " ", about["Objective"]), "head": head, "rows": rows, "suites": suites,
        "more": f"Settings of the search that reach the goal: {working}. In the tables of the suites",
        "views": [view | {"title": data, "link": ""} for data in FILMS if (view := views.get((algo, data)))],
        "charts": film_charts(algo, there), "claims": [claim_of(claim) for claim in CLAIMS if is_about(claim, algo)],
        "changed": "The code, with which all others are compared" if algo == "nsgan" else
        f"The diff against nsgan.py: {changed} lines of code, without header and settings", "diff": diff(algo),
    }  # fmt: skip


def page(out: Path) -> None:
    """Writes the page."""
    there = stored()
    views = film_views(there)
    sheets = packed({view["sheet"]: films.pictures(there[key]) for key, view in views.items()})
    overview = [(data, what, [views[a, data] for a in ALGOS if (a, data) in views]) for data, what in FILMS.items()]
    shares = [step / 10_000 for step in films.moments(10_000)]
    claims = report.claims_page()
    kinds = {title: [claim for claim in CLAIMS if claim.kind == kind] for kind, title in KINDS.items()}
    summary = " ".join(f"{title}. {verdicts.summary(these, findings())}" for title, these in kinds.items())
    table = claims[claims.index("\n## Every file") :]
    write(
        out, title="CleanGAN", files=[part(algo, there, views) for algo in ALGOS],
        overview=[item for item in overview if item[2]],
        sheets=sheets, numbers=html_of("\n".join(report.quick_table())), claims=html_of(table), verdicts=summary,
        demonstrations=[demonstration(*item) for item in demonstrations().items()],
        about_films=f"All are of seed {films.FIRST_SEED}, the first of the tables.",
        ticks=[(share, f"{100 * share:.{0 if share > 0.1 else 1}f} % of training") for share in shares],
    )  # fmt: skip
