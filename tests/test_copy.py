"""The other way to use a file: copy it into a project of one's own."""

import shutil

from conftest import FILES, ROOT, script


def test_each_file_copied_alone_imports_and_says_what_else_training_needs(tmp_path):
    """Run without common/ beside it, a file says in one sentence what to copy."""
    code = ["import runpy, sys, torch", "torch.set_num_threads(1)"]
    for file in FILES:
        (tmp_path / file.stem).mkdir()
        copy = shutil.copy(file, tmp_path / file.stem)
        code += [
            f"sys.path[0] = {str(tmp_path / file.stem)!r}",
            f"import {file.stem} as m",
            "score = m.Discriminator((2,), 8)(m.Generator(3, (2,), 8)(torch.randn(4, 3)))",
            "assert len(score) == 4 and callable(m.train), m",
            f"try: runpy.run_path({str(copy)!r}, run_name='__main__')",
            "except SystemExit as end: print(end)",
            "else: raise AssertionError(m)",
            "del sys.path[0]",  # run as a command, a file puts its root there
        ]
    ended = script("-c", "\n".join([*code, "assert 'common' not in sys.modules"]), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert len(lines) == len(FILES) and len(set(lines)) == 1
    assert "copy common/ beside" in lines[0] and "requirements.txt" in lines[0] and "common" in lines[0].split(":")[0]


def test_file_copied_with_common_runs_in_any_folder_and_can_be_quiet(tmp_path):
    shutil.copy(ROOT / "algos" / "wgan_gp.py", tmp_path)
    shutil.copytree(ROOT / "common", tmp_path / "common", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "elsewhere").mkdir()
    ended = script(tmp_path / "wgan_gp.py", "--steps", 2, "--width", 4, "--quiet", cwd=tmp_path / "elsewhere")
    assert ended.returncode == 0 and ended.stdout == ended.stderr == "", ended.stderr
    assert (tmp_path / "elsewhere" / "runs" / "wgan_gp-ring-s1" / "result.json").exists()
