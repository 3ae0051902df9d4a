"""The other way to use a file: copy it into a project of one's own."""

import shutil

from conftest import FILES, ROOT, script


def test_each_file_copied_alone_imports(tmp_path):
    lines = ["import sys, torch", "torch.set_num_threads(1)"]
    for file in FILES:
        (tmp_path / file.stem).mkdir()
        shutil.copy(file, tmp_path / file.stem)
        lines += [f"sys.path[0] = {str(tmp_path / file.stem)!r}", f"import {file.stem} as m"]
        lines += ["score = m.Discriminator((2,), 8)(m.Generator(3, (2,), 8)(torch.randn(4, 3)))"]
        lines += ["assert score.shape == (4,) and callable(m.generator_loss), m"]
    ended = script("-c", "\n".join([*lines, "print('common' in sys.modules)"]), cwd=tmp_path)
    assert ended.returncode == 0 and ended.stdout.split() == ["False"], ended.stderr


def test_file_copied_with_common_runs(tmp_path):
    shutil.copy(ROOT / "algos" / "wgan_gp.py", tmp_path)
    shutil.copytree(ROOT / "common", tmp_path / "common", ignore=shutil.ignore_patterns("__pycache__"))
    ended = script("wgan_gp.py", "--steps", 2, "--width", 4, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "runs" / "wgan_gp-ring-s1" / "result.json").exists()
