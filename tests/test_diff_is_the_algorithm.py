"""`diff algos/nsgan.py algos/x.py` shows the algorithm of x and nothing else.

Each file is cut into the fields of Args, the functions and classes, and the commented blocks of train(). The parts
that differ from nsgan.py's must be exactly those that the header names under `Changes`, within a budget of lines.
"""

import ast
import difflib
import re

import pytest
from conftest import FILES

BUDGET = {  # changed lines against nsgan.py, added and removed
    "nsgan": 0, "gan": 4, "mlegan": 18, "pacgan": 18, "lsgan": 24, "dragan": 34, "unrolled": 38, "wgan": 40,
    "wgan_gp": 38, "d2gan": 44, "began": 108, "dual_d_selu": 130,
}  # fmt: skip
LENGTH = {"dual_d_selu": 307}  # lines of a file, 260 for the rest: each row of its paper's tables is a flag
ENTRIES = ["Paper", "Objective", "Remedies", "Changes", "Pitfalls", "Expected"]
TEXT = {file.stem: file.read_text() for file in FILES}


def parts(text):
    """{name: source} of everything that may differ, in the order of the file."""
    tree, found = ast.parse(text), {}
    lines = text.splitlines()

    def source(first, last):
        return "\n".join(lines[first - 1 : last]).rstrip()

    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Args":
            fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
            ends = [n.lineno - 1 for n in fields[1:]] + [node.end_lineno]
            for field, end in zip(fields, ends, strict=True):
                text_of_field = re.sub(r"\n+ *# .*\Z", "", source(field.lineno, end))  # the next group's heading
                found[f"Args.{field.target.id.rstrip('_')}"] = text_of_field
        elif isinstance(node, ast.FunctionDef) and node.name == "train":
            first, name = node.lineno, "begin"
            for number in range(node.lineno, node.end_lineno + 2):
                heading = re.fullmatch(r" +# (\w+)", lines[number - 1]) if number <= node.end_lineno else None
                if heading or number > node.end_lineno:
                    found[f"train.{name}"] = source(first, number - 1)
                    first, name = number, heading and heading[1]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = source(node.lineno, node.end_lineno)
        elif not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr):
            found["main"] = source(node.lineno, node.end_lineno)
    return found


def header(name):
    """{entry: text} of the six entries of the header."""
    text = ast.get_docstring(ast.parse(TEXT[name]), clean=False)
    cut = re.split(r"^(\w+)  +", text, flags=re.MULTILINE)[1:]
    assert cut[::2] == ENTRIES, f"{name}.py: the header's entries are {cut[::2]}"
    return {entry: " ".join(body.split()) for entry, body in zip(cut[::2], cut[1::2], strict=True)}


def changed(name):
    """The names of the parts that differ from nsgan.py's, as the header is to list them."""
    ours, theirs = parts(TEXT[name]), parts(TEXT["nsgan"])
    return [part for part in ours if ours[part] != theirs.get(part)] + [f"no {p}" for p in theirs if p not in ours]


@pytest.mark.parametrize("name", TEXT)
def test_header_has_six_entries_and_names_the_changes(name):
    expected = ", ".join(changed(name)) or "nothing: this is the reference"
    assert header(name)["Changes"] == expected
    assert all(len(entry) > 10 for entry in header(name).values())


@pytest.mark.parametrize("name", TEXT)
def test_changed_lines_stay_within_the_budget(name):
    bodies = [text.split('"""', 2)[2].splitlines() for text in (TEXT["nsgan"], TEXT[name])]
    difference = [line for line in difflib.ndiff(*bodies) if line[0] in "+-" and line[2:].strip()]
    assert len(difference) <= BUDGET[name], "\n".join(difference)


@pytest.mark.parametrize("name", TEXT)
def test_length(name):
    text = TEXT[name]
    assert len(text.splitlines()) <= LENGTH.get(name, 260)
    assert len(ast.get_docstring(ast.parse(text)).splitlines()) <= 28 and text.isascii()


def test_one_help_text_and_type_per_flag():
    seen = {}
    for name in TEXT:
        for part, source in parts(TEXT[name]).items():
            if part.startswith("Args."):
                without_default = re.sub(r" = \S+$", "", source, count=1, flags=re.MULTILINE)
                assert '"""' in source, f"{name}.py: {part} has no help"
                assert seen.setdefault(part, without_default) == without_default, f"{name}.py: {part}"


def test_parts_are_found():
    """The cutting itself: every line of the body belongs to a part, save imports and headings."""
    found = parts(TEXT["nsgan"])
    assert {"Args.dataset", "Args.width", "Generator", "discriminator_loss", "main"} <= found.keys()
    blocks = [name.removeprefix("train.") for name in found if name.startswith("train.")]
    assert blocks == ["begin", "setup", "networks", "discriminator", "generator", "update", "loop", "log"]
    covered = {line for source in found.values() for line in source.splitlines()}
    body = TEXT["nsgan"].split('"""', 2)[2]
    left = [line for line in body.splitlines() if line.strip() and line not in covered]
    assert all(line.startswith(("import", "from", "@dataclass", "class Args", "    #")) for line in left), left


def test_only_allowed_imports_at_module_level():
    """A file copied alone imports anywhere: the standard library, torch and tyro."""
    allowed = {"copy", "dataclasses", "math", "os", "sys", "typing", "torch", "tyro"}
    for name, text in TEXT.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, name
            elif isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] in allowed, name
