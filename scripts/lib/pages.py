"""What the pages of scripts/page.py are made of: films, curves, the template page.html."""

import base64
import math
import re
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this is a library; the command that uses it is: python scripts/page.py")

import jinja2
from matplotlib.ticker import MaxNLocator
from PIL import Image
from pygments.formatters import HtmlFormatter

from common.draw import encode
from scripts.lib.statistics import MODES

LEFT, RIGHT, TOP, BOTTOM = 44, 352, 8, 166  # of the frame, in a picture of 360 x 190
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8a63d2", "#7f7f7f")  # Okabe & Ito's, two
DASHES = ("", "6 3", "2 2", "8 3 2 3")  # and where the colours begin again

NAMES = {"coverage": "modes covered", "high_quality": "sharp", "d_loss": "loss of D", "g_loss": "loss of G"}


def webp(image: Image.Image, quality: int) -> str:
    return base64.b64encode(encode(image, "WEBP", quality=quality, method=6)).decode()


def sheet(frames: list[Image.Image], quality: int) -> str:
    """All frames, which have one size, one below the other."""
    width, height = frames[0].size
    whole = Image.new("RGB", (width, height * len(frames)))
    for i, frame in enumerate(frames):
        whole.paste(frame, (0, i * height))
    return webp(whole, quality)


def said(numbers: dict, dataset: str) -> str:
    """The caption of a frame: what was measured, in words."""
    text = f"update {numbers['step']}"
    if dataset in MODES and "coverage" in numbers:
        sharp = "" if numbers.get("high_quality") is None else f", {numbers['high_quality']:.0%} sharp"
        return f"{text}: {numbers['coverage']:.0f} of {MODES[dataset]} modes{sharp}"
    return f"{text}: swd {numbers['swd']:.3g}" if numbers.get("swd") is not None else text


def view(sheet: str, title: str, alt: str, captions: list[str], frames: list[int], **more) -> dict:
    """A film as the template draws it. frames: which of the pictures each position of the slider shows."""
    more = {"color": "", "link": "", "pixels": False} | more
    return {"sheet": sheet, "title": title, "alt": alt, "captions": captions, "frames": frames} | more


def write(out: Path, **parts) -> None:
    """Fills the template."""
    light, dark = (HtmlFormatter(style=name).get_style_defs(".diff") for name in ("friendly", "github-dark"))
    only = [[line for line in styles.splitlines() if re.match(r"\.diff \.\w+ \{", line)] for styles in (light, dark)]
    parts["highlight"] = "\n".join([*only[0], "@media (prefers-color-scheme: dark) {", *only[1], "}"])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    defaults = {"files": None, "runs": []}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(environment.get_template("page.html").render(defaults | parts))
    print(f"wrote {out}, {out.stat().st_size / 1e6:.1f} MB")


def colors_of(n: int) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(n)]


def thinned(values: list, most: int) -> list:
    """At most so many of the values, evenly, with the first and the last."""
    if len(values) <= most:
        return values
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def short(value: float) -> str:
    return f"{value:.3g}".replace("e+0", "e").replace("e-0", "e-")


def chart(title: str, names: list[str], lines: list[list[tuple]], end: int, colors: list[str], legend=False) -> dict:
    """One chart for the template, or {} if there is no number. lines: of each name its (update, value or None)."""
    lines = [thinned([(x, y) for x, y in line if y is not None and math.isfinite(y)], 80) for line in lines]
    values = [y for line in lines for _, y in line]
    if not values:
        return {}
    log = min(values) > 0 and max(values) > 100 * min(values)
    scaled = math.log10 if log else float
    low, high = scaled(min(values)), scaled(max(values))
    if not log and 0 <= low <= 0.7 * high:
        low = 0.0
    marks = MaxNLocator(4, integer=log).tick_values(low, high)
    low, high = float(marks[0]), max(float(marks[-1]), float(marks[0]) + 1e-9)

    def height(y: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (y - low) / (high - low), 1)

    drawn, ends = [], []
    for i, (name, line) in enumerate(zip(names, lines, strict=True)):
        places = [(round(LEFT + (RIGHT - LEFT) * x / end, 1), height(scaled(y))) for x, y in line]
        dots = [(*place, f"{name}, update {x}: {short(y)}") for place, (x, y) in zip(places, line, strict=True)]
        drawn.append({"name": name, "color": colors[i], "dash": DASHES[i // len(COLORS) % len(DASHES)], "dots": dots})
        drawn[-1]["path"] = " ".join(f"{x},{y}" for x, y in places)
        ends += [f"{name} from {short(line[0][1])} to {short(line[-1][1])}"] if line else []
    ys = [(height(mark), short(10**mark if log else mark)) for mark in marks]
    xs = [(LEFT, "0"), ((LEFT + RIGHT) / 2, f"{end // 2:,}"), (RIGHT - 14, f"{end:,}")]
    alt = f"{title} over the updates: {'; '.join(ends)}"
    title += ", logarithmic" if log else ""
    return {"title": title, "alt": alt, "lines": drawn, "ys": ys, "xs": xs, "legend": legend}
