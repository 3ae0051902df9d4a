"""Every command that the pages and the headers print is one that works, and what the command line gives and says."""

import ast
import importlib
import itertools
import re
import shlex
from pathlib import Path

import pytest
import tyro
from conftest import ALGOS, FILES, ROOT

from common.args import parse

COMMANDS = sorted([*(ROOT / "scripts").glob("*.py"), *(ROOT / "scripts" / "pathologies").glob("*.py")])
SCRIPTS = {path.relative_to(ROOT).as_posix(): path for path in COMMANDS}
PAGES = [*ROOT.glob("*.md"), ROOT / "algos" / "README.md", *(ROOT / "results").rglob("*.md"), *FILES]
PAGES += [*(ROOT / "scripts").rglob("*.md"), *(ROOT / "scripts").rglob("*.py")]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
LINES = {
    (name, m[1].strip())
    for name, text in TEXTS.items()
    for m in re.finditer(r"(?:python|torchrun --nproc-per-node=\d+) ((?:algos|scripts)/[^`\n#|()\",]+)", text)
    if "{" not in m[1]
}


def args_of(file, words):
    """The Args of a command of algos/ or scripts/ for these words."""
    if file.startswith("algos/"):
        return parse(ALGOS[file.removeprefix("algos/").removesuffix(".py")].Args, words=words)
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    kind = module.Args if hasattr(module, "Args") else importlib.import_module("scripts.lib.stage").Args
    return tyro.cli(tyro.conf.FlagCreatePairsOff[kind], args=words)


def test_printed_commands_parse(capsys):
    """All in one test: a failure names the page and the command."""
    wrong = []
    for name, command in sorted(LINES):
        try:
            file, *words = shlex.split(re.split(r"\s(?:&&|;|>|and|has|  +)", command)[0])
            assert (ROOT / file).is_file(), "no such file"
            args_of(file, [word for word in words if word != "--help"])
        except (AssertionError, SystemExit, ValueError) as error:
            wrong.append(f"{name}: {command}: {error}")
    assert not wrong, "\n".join([*wrong, capsys.readouterr().err])


def test_commands_are_found():
    assert ("README.md", "algos/wgan_gp.py --lambda 10") in LINES
    named = {command.split()[0] for _, command in LINES}
    assert {f"algos/{name}.py" for name in ALGOS} | SCRIPTS.keys() <= named


def test_links_lead_somewhere():
    wrong = []
    for name in (name for name in TEXTS if name.endswith(".md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)|src=\"(?!http)([^\"]+)\"", TEXTS[name]):
            path = (ROOT / name).parent / (target[0] or target[1])
            wrong += [] if path.exists() else [f"{name}: {target[0] or target[1]}"]
    assert not wrong


@pytest.mark.parametrize("file", SCRIPTS)
def test_script_shows_its_help(file, capsys):
    with pytest.raises(SystemExit) as end:
        args_of(file, ["--help"])
    assert end.value.code == 0
    assert "usage" in capsys.readouterr().out


# --- the command line of the algorithms


def help_of(algo, capsys, monkeypatch, *words):
    """The help text without line breaks, in its two groups."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        parse(algo.Args, algo.__doc__, [*words, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    text = re.sub(r"\s+", " ", re.sub("[^ -~]", " ", text))
    _, run, algorithm = re.split("run options|algorithm options", text)
    return text, run, algorithm


def test_help_shows_every_flag_in_its_group_with_its_help(algo, capsys, monkeypatch):
    text, *groups = help_of(algo, capsys, monkeypatch)
    assert re.sub(r"\s+", " ", algo.__doc__.partition("\n")[0]) in text
    (kind,) = (node for node in ast.parse(Path(algo.__file__).read_text()).body if getattr(node, "name", "") == "Args")
    texts = {a.target.id: b.value.value for a, b in itertools.pairwise(kind.body) if isinstance(a, ast.AnnAssign)}
    assert texts.keys() == algo.Args.__dataclass_fields__.keys()
    groups = iter(groups)
    for name, described in texts.items():
        if name in ("dataset", "steps"):  # the first of the run, the first of the algorithm
            group = next(groups)
        flag = name.strip("_").replace("_", "-")
        flag = f"--no-{flag}" if getattr(algo.Args(), name) is True else f"--{flag}"
        assert f" {flag} " in group and re.sub(r"\s+", " ", described) in group, name


def test_help_names_no_flag_that_only_negates_what_is_off(capsys, monkeypatch):
    text, _, _ = help_of(ALGOS["nsgan"], capsys, monkeypatch)
    for flag in ("--no-resume", "--amp", "--no-track", "--no-quiet", "--graph", "--lr-decay"):
        assert f" {flag} " not in text
    assert "(default: True)" not in text and "(default: False)" not in text  # beside --no-graph it would mislead


def test_help_shows_the_numbers_of_the_data_set(algo, capsys, monkeypatch):
    for name in ("grid", "mnist"):
        text, _, _ = help_of(algo, capsys, monkeypatch, "--dataset", name)
        for field, value in algo.PRESETS.get(name, algo.PRESETS["images"]).items():
            flag = field.strip("_").replace("_", "-")
            shown = re.search(rf" --{flag} (?:INT|FLOAT) .*?\(default: (\S+)\)", text)[1]
            assert float(shown) == value, field
        assert f"(default: {name})" in text and "None" not in text and "PRESET" not in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dataset", "rings"], ["'rings'", "ring", "stacked_mnist", "folder"]),
        (["--dataset"], ["--dataset"]),
        (["--lamda", "1"], ["--lamda", "--lambda"]),
        (["--steps", "many"], ["--steps", "many"]),
        (["--lambda_", "1"], ["--lambda_"]),
        (["--no-resume"], ["--no-resume"]),
        (["--amp", "--lr", "1e-3"], ["--amp"]),
    ],
)
def test_bad_words_end_with_the_message_of_tyro(words, said, capsys):
    """It names the flag and the choices."""
    with pytest.raises(SystemExit) as end:
        parse(ALGOS["wgan_gp"].Args, words=words)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and all(word in err for word in said) and "Traceback" not in err
