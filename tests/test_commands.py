"""Every command that the README and the headers print is one that works."""

import re
import shlex

import pytest
import tyro
from conftest import ALGOS, FILES, ROOT, load_script, script

SCRIPTS = {file.stem: load_script(file.stem) for file in sorted((ROOT / "scripts").glob("*.py"))}
PAGES = [ROOT / "README.md", *FILES, *(ROOT / "scripts").glob("*.py"), *(ROOT / "results").rglob("*.md")]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
LINES = {
    (name, m[1].strip())
    for name, text in TEXTS.items()
    for m in re.finditer(r"(?:python|torchrun --nproc-per-node=\d+) ((?:algos|scripts)/[^`\n#|()]+)", text)
}


@pytest.mark.parametrize(("name", "command"), sorted(LINES))
def test_printed_command_parses(name, command):
    file, *words = shlex.split(re.split(r"\s(?:&&|;|>|  +)", command)[0])
    assert (ROOT / file).is_file(), f"{name} names {file}"
    modules = ALGOS if file.startswith("algos/") else SCRIPTS
    if words not in (["NAME"], ["{name}"]):
        tyro.cli(modules[file.split("/")[1].removesuffix(".py")].Args, args=words)


def test_commands_are_found():
    assert ("README.md", "algos/wgan_gp.py --lambda 10") in LINES
    named = {re.split(r"[/.]", command)[1] for _, command in LINES}
    assert {file.stem for file in FILES} | {
        name for name, module in SCRIPTS.items() if hasattr(module, "main")
    } <= named


def test_readme_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)|src=\"(?!http)([^\"]+)\"", TEXTS["README.md"]):
        assert (ROOT / (target[0] or target[1])).exists(), target


def test_help_shows_every_flag_with_its_help(algo, capsys):
    with pytest.raises(SystemExit) as end:
        tyro.cli(algo.Args, args=["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for field in algo.Args.__dataclass_fields__:
        assert f"--{field.strip('_').replace('_', '-')}" in text.replace("--no-", "--")


@pytest.mark.parametrize("name", [name for name, module in SCRIPTS.items() if hasattr(module, "Args")])
def test_script_shows_its_help(name, capsys):
    with pytest.raises(SystemExit) as end:
        tyro.cli(SCRIPTS[name].Args, args=["--help"])
    assert end.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_runs_from_any_directory(tmp_path):
    ended = script(ROOT / "algos" / "nsgan.py", "--steps", 2, "--width", 4, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "runs" / "nsgan-ring-s1" / "result.json").exists()
