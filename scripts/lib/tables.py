"""Tables: CSV as the scripts keep them, Markdown as they print them."""

import csv
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this is a library; the command that writes the tables is: python scripts/benchmark.py")

CPUS = ("x86_64", "AMD64", "aarch64", "arm64")  # what environment() calls a device that is no GPU


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open() as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict]) -> None:
    """A CSV file of these rows, with all columns that one of them has."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, dict.fromkeys(name for row in rows for name in row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def is_number(cell) -> bool:
    try:
        return cell in ("", "-") or float(cell) is not None
    except ValueError:
        return False


def short(value: float | str) -> str:
    """Three significant digits, without an exponent."""
    return f"{float(f'{float(value):.3g}'):g}"


def two_decimals(number: float | str) -> str:
    return f"{float(number):.2f}" if number else "-"


def table(head: list[str], rows: list[list]) -> list[str]:
    """The lines of a Markdown table: columns of numbers to the right, floats with three significant digits."""
    cells = [[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [all(map(is_number, column)) for column in zip(*cells[1:], strict=True)]
    lines = [
        "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)) + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + "|"
    return [lines[0], rule, *lines[1:], ""]


def where(rows: list[dict]) -> str:
    """What the runs ran on."""
    devices = sorted({row["device"] for row in rows if row.get("device")})
    return " or ".join("one CPU core" if device in CPUS else f"one {device}" for device in devices)
