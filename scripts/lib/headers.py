"""What the headers of algos/*.py say: their six entries, the paper, the remedies; and from them the list of all files.

    Paper       Lin et al. 2018, PacGAN: The power of two samples ..., arXiv 1712.04086
    Remedies    Mode collapse. ...

A file that is added to algos/ is in every list that is made from here.
"""

import ast
import re
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this is a library; the command that quotes the headers is: python scripts/report.py")

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = ("Paper", "Objective", "Remedies", "Changes", "Pitfalls", "Expected")
INDENT = 12  # columns before the text of an entry
ADDRESSES = {
    "arXiv": "https://arxiv.org/abs/",
    "doi": "https://doi.org/",
    "openreview": "https://openreview.net/forum?id=",
}


def entries(text: str) -> dict[str, str]:
    """The entries of a header, given the text of its file: {"Paper": ..., ...}, with its lines but without the indent.

    Raises ValueError if there are others than the six, or in another order.
    """
    found: dict[str, list[str]] = {}
    for line in (ast.get_docstring(ast.parse(text)) or "").splitlines()[2:]:
        if name := line[:INDENT].strip():
            found[name] = []
        if found:
            found[name or [*found][-1]].append(line[INDENT:])
    if tuple(found) != ENTRIES:
        raise ValueError(
            f"a header has the entries {', '.join(ENTRIES)}, in this order; it has {', '.join(found) or '-'}"
        )
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


@cache
def header(algo: str) -> dict[str, str]:
    """The entries of the header of algos/<algo>.py."""
    try:
        return entries((ROOT / "algos" / f"{algo}.py").read_text())
    except ValueError as error:
        raise ValueError(f"algos/{algo}.py: {error}") from None


def cited(paper: str) -> tuple[str, str]:
    """Authors and year of a Paper entry, and the web address of its first arXiv number, doi or openreview page."""
    words = " ".join(paper.split())
    text = re.search(r".*?\b(19|20)\d\d\b", words)
    number = re.search(rf"({'|'.join(ADDRESSES)}) (\S+?)[.,;:)]?( |$)", words)
    if not text or not number:
        raise ValueError(f"a Paper entry has a year, and an `arXiv`, `doi` or `openreview` number: {words}")
    return text[0], ADDRESSES[number[1]] + number[2]


def paper(algo: str) -> tuple[str, str]:
    """("Lin et al. 2018", "https://arxiv.org/abs/1712.04086")."""
    return cited(header(algo)["Paper"])


def remedies(algo: str) -> str:
    """The short list with which the entry begins, up to its first full stop: "Mode collapse"."""
    return re.split(r"\.(?:\s|$)", " ".join(header(algo)["Remedies"].split()))[0]


def order(algo: str) -> tuple[bool, str, str]:
    """nsgan.py first, which the others are compared with; then by year, then by name. Without a header: last."""
    try:
        year = paper(algo)[0][-4:]
    except (ValueError, SyntaxError):  # said by the command that needs it
        year = "none"
    return algo != "nsgan", year, algo


ALGOS = sorted((file.stem for file in (ROOT / "algos").glob("*.py")), key=order)
