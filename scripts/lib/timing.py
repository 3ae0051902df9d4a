"""What the commands that measure speed share: seconds of updates, tables that grow row by row, pages."""

import platform
import re
import statistics
import time
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this is a library; a command that measures is: python scripts/speed.py updates")

import torch

from common.device import environment
from scripts.lib.tables import read_rows, write_rows

RESULTS = Path(__file__).resolve().parents[2] / "results" / "speed"
PROVENANCE = ("torch", "git")  # the last columns of all tables
made_by = cache(environment)  # before what is written here makes the revision a changed one


def clock(device: torch.device) -> float:
    """Seconds: on a GPU after all its work, on a CPU of this process alone, which busy neighbours disturb less."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def stopwatch(device: torch.device, block: float = 0.2) -> Generator[None, dict, float]:
    """Returns the seconds from one `yield` to the next, over a block of about so many seconds.

    `seconds` drives it with a function; a visitor of somebody's script says `yield from stopwatch(device)`.
    """
    for _ in range(5 if device.type == "cuda" else 1):  # libraries initialise, a CUDA graph is captured
        yield
    begin = clock(device)
    yield
    calls = max(1, round(block / max(clock(device) - begin, 1e-6)))
    begin = clock(device)
    for _ in range(calls):
        yield
    return (clock(device) - begin) / calls


def seconds(way: Callable, device: torch.device, block: float = 0.2) -> float:
    """Seconds per call of a function."""
    watch = stopwatch(device, block)
    while True:
        try:
            next(watch)
        except StopIteration as ended:
            return ended.value
        way()


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    """Of two ways, round by round, so that what slows a whole round down has no part in it."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def device_name(device: torch.device) -> str:
    """As its maker calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"one core of {[*names, platform.processor() or platform.machine()][0]}"


def folder_of(device: torch.device) -> Path:
    """results/speed/<device>/, which is made."""
    folder = RESULTS / re.sub(r"\W+", "-", device_name(device).lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def provenance(device: torch.device) -> dict[str, str]:
    return {name: made_by(device)[name] for name in PROVENANCE}


def keep(path: Path, rows: list[dict], device: torch.device) -> list[dict]:
    """Adds rows to a CSV file, or renews those of the same first three columns; returns all of the file, as text."""
    merged = {tuple(row.values())[:3]: row for row in (read_rows(path) if path.exists() else [])}
    for row in rows:
        row = row | provenance(device)
        row = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in row.items()}
        merged[tuple(row.values())[:3]] = row
    write_rows(path, [*merged.values()])
    return read_rows(path)


def write_page(path: Path, title: str, words: str, device: torch.device, rows: list[dict], parts: list[str]) -> None:
    """Writes a page: by which command, on what and of which revisions its rows were made; then the lines `parts`."""
    made, revisions = made_by(device), ", ".join(sorted({row["git"] for row in rows}))
    facts = f"{device_name(device)}; torch {made['torch']}, Python {made['python']}, revision {revisions}."
    text = [f"# Speed: {title}", "", f"    python scripts/{words}", "", facts, "", *parts]
    path.write_text("\n".join(text).rstrip() + "\n")
