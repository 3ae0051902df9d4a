"""The other way to use a file: copy it into a project of one's own."""

import shutil

import pytest
from conftest import FILES, ROOT, script


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_file_copied_alone_imports(file, tmp_path):
    shutil.copy(file, tmp_path)
    code = f"import torch, {file.stem} as m; x = m.Generator(3, (2,), 8)(torch.randn(4, 3))"
    code += "; print(m.Discriminator((2,), 8)(x).shape, m.generator_loss.__name__)"
    ended = script("-c", code, cwd=tmp_path)
    assert ended.returncode == 0 and ended.stdout.split() == ["torch.Size([4])", "generator_loss"], ended.stderr


def test_file_copied_with_common_runs(tmp_path):
    shutil.copy(ROOT / "algos" / "wgan_gp.py", tmp_path)
    shutil.copytree(ROOT / "common", tmp_path / "common", ignore=shutil.ignore_patterns("__pycache__"))
    ended = script("wgan_gp.py", "--steps", 2, "--width", 4, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "runs" / "wgan_gp-ring-s1" / "result.json").exists()
