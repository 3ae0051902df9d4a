"""Runs side by side, or the whole collection, as a page to look at: one file, which needs no network.

    python scripts/page.py runs/nsgan-ring-s1 runs/r1-ring-s1    # runs.html; a folder of runs does as well
    python scripts/page.py                                       # results/index.html, from the sources and results/
    python scripts/page.py --record ring digits grid             # trains every file for the films of results/index.html

Of runs it also prints what differs in their arguments, and their last numbers beside an exact sampler's. They may be
running, interrupted or finished, on points or on images. A recording skips the films that it has already made with the
same settings. The parts of the page: scripts/lib/page.html.
"""

import bisect
import contextlib
import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.args import RunError
from common.data import load_data
from common.metrics import evaluate
from common.run import read_json
from scripts.lib import collection, films
from scripts.lib.command import command
from scripts.lib.pages import NAMES, chart, colors_of, said, sheet, thinned, view, write
from scripts.lib.suites import EXACT, ROOT
from scripts.lib.tables import table

FIRST = ("coverage", "high_quality", "swd", "d_loss", "g_loss")  # of the curves
TICKS, FRAMES = 100, 24  # positions of the slider on the page of runs; pictures that it has of each run, at most


@dataclass
class Args:
    runs: Annotated[list[str], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = field(default_factory=list)
    """folders of runs, or folders that hold them; none: the page of the whole collection"""
    record: list[str] = field(default_factory=list)
    """data sets (ring, digits, grid) on which to train every file and record the film, instead of making a page"""
    out: str = ""
    """the file to write; default: runs.html, without runs results/index.html"""


@dataclass
class Run:
    folder: Path
    name: str
    args: dict
    data: str
    """the data set; with the folder of those that only a folder names, or the run's"""
    shape: list[int]
    """of a sample"""
    rows: list[dict]
    """of metrics.jsonl"""
    result: dict
    """of a finished run, else empty"""


def load(folder: Path, name: str) -> Run:
    """What a run left so far; a last row that is still being written is left out."""
    config = read_json(folder / "config.json")
    args = config.get("args", {})
    rows = []
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "metrics.jsonl").read_text().splitlines():
            rows.append(json.loads(line))
    data = config.get("data", args.get("dataset", "?"))
    data += {"folder": f" {args.get('data_root')}", "own": f" data of {folder.name}"}.get(data, "")
    return Run(folder, name, args, data, config.get("shape", []), rows, read_json(folder / "result.json"))


def found(words: list[str]) -> list[Run]:
    """The runs at or below these folders. Raises RunError if a folder has none."""
    folders: dict[Path, None] = {}
    for word in words:
        here = [path.parent.resolve() for path in sorted(Path(word).rglob("config.json"))]
        if not here:
            raise RunError(f"{word}: no folder of a run, nor one that holds runs (a run has a config.json)")
        folders |= dict.fromkeys(here)
    names = [folder.name for folder in folders]  # two folders may have runs of one name
    return [load(path, "/".join(path.parts[-1 - (names.count(path.name) > 1) :])) for path in folders]


# tables -------------------------------------------------------------------------------------------------------------


def differences(runs: list[Run]) -> tuple[list[str], list[list]]:
    """A table of the arguments that are not the same in all runs."""
    names = list(dict.fromkeys(name for run in runs for name in run.args))
    names = [name for name in names if len({repr(run.args.get(name)) for run in runs}) > 1]
    rows = [[run.name, *(run.args.get(name, "-") for name in names), state(run)] for run in runs]
    return ["run", *names, "state"], rows


def state(run: Run) -> str:
    if run.result:
        return f"finished, {run.result.get('seconds', math.nan):.0f} s"
    return f"update {run.rows[-1]['step'] if run.rows else 0} of {run.args.get('steps', '?')}"


def exact(data: str, runs: list[Run]) -> dict:
    """What an exact sampler of the data scores: of a finished run on them, or measured now; else nothing."""
    for run in runs:
        if run.data == data and "exact_sampler" in run.result:
            return run.result["exact_sampler"]
    if data not in ("ring", "grid", "digits"):
        return {}
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        real = load_data(data)
        return evaluate(real, real.sample(2500 if real.shape == (2,) else 1000))


def last_numbers(runs: list[Run]) -> tuple[list[str], list[list]]:
    """A table of the last measurements, for each data set with those of an exact sampler below."""
    others = {run.data: exact(run.data, runs) for run in runs}
    measured = list(dict.fromkeys(name for numbers in others.values() for name in numbers))
    rows = []
    for data in others:
        last = [
            (run.name, run.result or (run.rows[-1] if run.rows else {"step": 0})) for run in runs if run.data == data
        ]
        for name, numbers in [*last, *([(f"{EXACT}, {data}", others[data])] if others[data] else [])]:
            values = (numbers.get(name) for name in measured)
            cells = ("-" if value is None else float(f"{value:.4g}") for value in values)
            rows.append([name, numbers.get("step", ""), *cells])
    return ["run", "update", *measured], rows


# pictures -----------------------------------------------------------------------------------------------------------


def frames_of(run: Run) -> tuple[list[int], list[Image.Image]]:
    """The updates and pictures of samples/, evenly thinned, without the headline of pictures of points."""
    files = {int(file.stem): file for file in (run.folder / "samples").glob("*.png") if file.stem.isdigit()}
    frames = {}
    for step in thinned(sorted(files), FRAMES):
        with contextlib.suppress(OSError), Image.open(files[step]) as image:
            width, height = image.size
            image = image.convert("RGB").crop((0, height - width, width, height))
            frames[step] = small(image, run.shape)
    frames = {step: image for step, image in frames.items() if image.size == [*frames.values()][-1].size}
    return [*frames], [*frames.values()]


def small(image: Image.Image, shape: list[int]) -> Image.Image:
    """A picture of samples, at most 320 pixels wide; of images that it shows enlarged each pixel once."""
    if len(shape) == 3:
        size = shape[1] + 2 * (shape[1] < 16)  # with the line around small ones
        scale = max(image.width // (8 * size), 1)
        image = image.resize((image.width // scale,) * 2, Image.Resampling.NEAREST)
    image.thumbnail((280, 280) if shape == [2] else (320, 320), Image.Resampling.LANCZOS)
    return image


def films_of(runs: list[Run], colors: list[str]) -> tuple[list[dict], list[tuple], list[int]]:
    """The films of runs and their sheets for the template, and the updates at which the slider stops."""
    shot = [frames_of(run) for run in runs]
    moments = thinned(sorted({step for steps, _ in shot for step in steps}), TICKS) or [0]
    views, sheets = [], []
    for i, (run, (steps, pictures)) in enumerate(zip(runs, shot, strict=True)):
        if not pictures:
            continue
        rows = {row["step"]: row for row in run.rows}
        captions = [said(rows.get(step, {"step": step}), run.data) for step in steps]
        shown = [max(bisect.bisect(steps, moment) - 1, 0) for moment in moments]
        sheets.append((str(i), len(pictures), sheet(pictures, 70)))
        more = {"color": colors[i], "pixels": pictures[0].width < 200}
        views.append(view(str(i), run.name, f"Samples of {run.name}", captions, shown, **more))
    return views, sheets, moments


def landscapes_of(runs: list[Run]) -> tuple[list[dict], list[tuple]]:
    """The landscapes of D at the last checkpoints, of runs on the ring and the grid. Prints what has none, and why."""
    found, sheets = [], []
    for i, run in enumerate(runs):
        if run.data not in ("ring", "grid"):
            continue
        try:
            step, picture = films.last_landscape(run.folder)
        except RunError as error:
            print(f"{run.name}: no landscape of D, {error}")
            continue
        sheets.append((f"d{i}", 1, sheet([picture], 80)))
        alt = f"Samples of {run.name} over the landscape of D, update {step}"
        found.append({"sheet": f"d{i}", "title": run.name, "step": step, "alt": alt})
    return found, sheets


def curves_of(runs: list[Run], colors: list[str], end: int) -> list[dict]:
    """A chart of each number that the runs log, those that matter first."""
    logged = dict.fromkeys(name for run in runs for row in run.rows for name in row if name != "step")
    drawn = []
    for name in dict.fromkeys([name for name in FIRST if name in logged] + [*logged]):
        lines = [[(row["step"], row.get(name)) for row in run.rows] for run in runs]
        drawn.append(chart(NAMES.get(name, name), [run.name for run in runs], lines, end, colors))
    return [one for one in drawn if one]


def runs_page(runs: list[Run], out: Path) -> None:
    """Prints the tables of runs and writes their page."""
    differ, last, colors = differences(runs), last_numbers(runs), colors_of(len(runs))
    print("\n".join([*table(*differ), *table(*last)]))
    views, sheets, moments = films_of(runs, colors)
    landscapes, more = landscapes_of(runs)
    end = max([*moments, *(run.rows[-1]["step"] for run in runs if run.rows), 1])
    common = [f"{name}={value}" for name, value in runs[0].args.items() if name not in differ[0]]
    write(
        out, title="Runs", runs=runs, differ=differ, last=last, same=", ".join(common), views=views,
        sheets=sheets + more, landscapes=landscapes, charts=curves_of(runs, colors, end),
        ticks=[(round(moment / end, 4), f"update {moment}") for moment in moments],
    )  # fmt: skip


def main(args: Args) -> None:
    if args.runs and args.record:
        raise RunError("either runs or --record: it trains the files of algos/")
    if args.record:
        collection.record(args.record)
    elif args.runs:
        runs_page(found(args.runs), Path(args.out or "runs.html"))
    else:
        collection.page(Path(args.out or ROOT / "results" / "index.html"))


if __name__ == "__main__":
    command(main, Args, __doc__)
