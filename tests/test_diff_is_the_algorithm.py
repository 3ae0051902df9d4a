"""`diff algos/nsgan.py algos/x.py` shows the algorithm of x and nothing else.

Each file is cut into its settings, the fields of Args, the functions and classes, and the commented blocks of train().
The parts that differ from nsgan.py's must be exactly those that the header names under `Changes`, within a budget of
lines.
"""

import ast
import difflib
import re

import pytest
from conftest import FILES

from scripts.lib.headers import header
from scripts.report import body

BUDGET = {  # changed lines against nsgan.py, added and removed, but for header and PRESETS
    "nsgan": 0, "gan": 4, "mlegan": 16, "pacgan": 18, "lsgan": 23, "dragan": 22, "unrolled": 33, "wgan": 28,
    "wgan_gp": 27, "d2gan": 40, "began": 78, "dual_d_selu": 59,
    "r1": 23, "r3gan": 41, "feature_matching": 21, "minibatch_discrimination": 17,
    "sngan": 36, "diffusion_gan": 31, "cramer": 55, "dfm": 45,
}  # fmt: skip
BLOCKS = ["begin", "setup", "networks", "discriminator", "generator", "update", "loop"]  # of train()
TEXT = {file.stem: file.read_text() for file in FILES}


def parts(text):
    """{name: source} of everything that may differ, in the order of the file."""
    tree, found = ast.parse(text), {}
    lines = text.splitlines()

    def source(first, last):
        return "\n".join(lines[first - 1 : last]).rstrip()

    def begin(node):
        """The line where a node begins, with its decorators and the comments right above it."""
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        while lines[first - 2].startswith("#"):
            first -= 1
        return first

    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Args":
            members = [n for n in node.body if isinstance(n, ast.AnnAssign | ast.FunctionDef)]
            ends = [n.lineno - 1 for n in members[1:]] + [node.end_lineno]
            for member, end in zip(members, ends, strict=True):
                text_of_member = re.sub(r"\n+ *# .*\Z", "", source(member.lineno, end))  # the next group's heading
                name = member.name if isinstance(member, ast.FunctionDef) else member.target.id.removesuffix("_")
                found[f"Args.{name}"] = text_of_member
        elif isinstance(node, ast.FunctionDef) and node.name == "train":
            first, name = node.lineno, "begin"
            for number in range(node.lineno, node.end_lineno + 2):
                heading = re.fullmatch(r" +# (\w+)", lines[number - 1]) if number <= node.end_lineno else None
                if heading or number > node.end_lineno:
                    found[f"train.{name}"] = source(first, number - 1)
                    first, name = number, heading and heading[1]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = source(begin(node), node.end_lineno)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            found[ast.unparse(target)] = source(begin(node), node.end_lineno)
        elif not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr):
            found["main"] = source(begin(node), node.end_lineno)
    return found


def changed(name):
    """The names of the parts that differ from nsgan.py's, as the header is to list them."""
    ours, theirs = parts(TEXT[name]), parts(TEXT["nsgan"])
    return [part for part in ours if ours[part] != theirs.get(part)] + [f"no {p}" for p in theirs if p not in ours]


@pytest.mark.parametrize("name", TEXT)
def test_header_has_six_entries_and_names_the_changes(name):
    found = header(name)
    assert " ".join(found["Changes"].split()) == (", ".join(changed(name)) or "nothing: this is the reference")
    assert all(len(entry) > 10 for entry in found.values())


@pytest.mark.parametrize("name", TEXT)
def test_changed_lines_stay_within_the_budget(name):
    bodies = [body("nsgan"), body(name)]
    difference = [line for line in difflib.ndiff(*bodies) if line[0] in "+-" and line[2:].strip()]
    count, where = len(difference), "BUDGET in tests/test_diff_is_the_algorithm.py"
    assert name in BUDGET, f"{where} has no line for {name}.py: add {name!r}: {count}, if no line can be spared"
    assert count <= BUDGET[name], f"{name}.py: {count}, allowed {BUDGET[name]} by {where}\n" + "\n".join(difference)


@pytest.mark.parametrize("name", TEXT)
def test_length(name):
    """Of the file, its header and its Pitfalls: research notes live in results/."""
    text = TEXT[name]
    lines = {"file": text, "header": ast.get_docstring(ast.parse(text)), "Pitfalls": header(name)["Pitfalls"]}
    found = {what: len(part.splitlines()) for what, part in lines.items()}
    limits = {"file": 250, "header": 22, "Pitfalls": 5}
    assert all(found[what] <= limits[what] for what in limits), f"{name}.py: {found}, allowed {limits}"
    assert text.isascii()


def test_train_is_short():
    """At most 60 lines, but for two files."""
    functions = {
        name: [n for n in ast.parse(text).body if getattr(n, "name", "") == "train"] for name, text in TEXT.items()
    }
    found = {name: node.end_lineno - node.lineno + 1 for name, (node,) in functions.items()}
    longer = {name: lines for name, lines in found.items() if lines > 60}
    assert len(longer) <= 2, f"lines of train(): {longer}"


def test_one_help_text_and_type_per_flag():
    """A flag means the same in every file: one help text, which is not empty, and one type.

    But papers use gamma and sigma for different things, and so do their files.
    """
    other = {("began", "Args.gamma"), ("diffusion_gan", "Args.sigma")}
    seen = {}
    for name in TEXT:
        for part, source in parts(TEXT[name]).items():
            if part.startswith("Args.") and part != "Args.__post_init__":
                without_default = re.sub(r" = \S+$", "", source, count=1, flags=re.MULTILINE)
                assert re.search(r'^ +"""\S.{9,}"""\Z', source, re.MULTILINE), f"{name}.py: {part} has no help"
                meaning = (name, part) if (name, part) in other else part
                assert seen.setdefault(meaning, without_default) == without_default, f"{name}.py: {part}"


def test_parts_are_found():
    """The cutting itself: every line of the body belongs to a part, save imports and headings."""
    found = parts(TEXT["nsgan"])
    assert {"PRESET", "PRESETS", "Args.dataset", "Args.width", "Args.__post_init__"} <= found.keys()
    assert {"layers_of", "Generator", "Discriminator", "discriminator_loss", "generator_loss", "main"} <= found.keys()
    assert "def __post_init__" in found["Args.__post_init__"] and "def" not in found["Args.width"]
    assert all(
        "#" not in source.replace("  # fmt: skip", "") for part, source in found.items() if part.startswith("Args.")
    )
    covered = {line for source in found.values() for line in source.splitlines()}
    body = TEXT["nsgan"].split('"""', 2)[2]
    left = [line for line in body.splitlines() if line.strip() and line not in covered]
    assert all(line.startswith(("import", "from", "@dataclass", "class Args", "    #")) for line in left), left


@pytest.mark.parametrize("name", TEXT)
def test_parts_come_in_the_same_order(name):
    """Settings, Args, networks, the new ingredient, losses, train() in its blocks, the command."""
    found = [*parts(TEXT[name])]
    assert [part for part in found if part.startswith("train.")] == [f"train.{block}" for block in BLOCKS]
    common = [part for part in parts(TEXT["nsgan"]) if part in found]
    assert [part for part in found if part in common] == common


def test_only_allowed_imports_at_module_level():
    """A file copied alone imports anywhere: the standard library, torch and tyro."""
    allowed = {"copy", "dataclasses", "math", "os", "sys", "typing", "torch", "tyro"}
    for name, text in TEXT.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, name
            elif isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] in allowed, name
