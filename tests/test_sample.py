"""scripts/sample.py: the generator of a checkpoint as it was, and what is written from it."""

import json
from pathlib import Path

import pytest
import torch
from conftest import ALGOS, script
from PIL import Image

from common.args import RunError
from common.draw import as_bytes
from scripts import sample
from scripts.lib.command import command
from scripts.lib.trained import Trained


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """The folder of a short run on points."""
    out = tmp_path_factory.mktemp("points")
    ALGOS["nsgan"].train(ALGOS["nsgan"].Args(steps=3, log_every=1, out=str(out), device="cpu"))
    return out / "nsgan-ring-s1"


def test_samples_are_those_of_the_trained_generator(algo, tmp_path, tiny_images, monkeypatch):
    """The same latents give what the run's own picture shows, for every file, in eval mode."""
    seen = []
    monkeypatch.setattr("common.run.draw", lambda data, fake, *_: seen.append(fake) or Image.new("L", (8, 8)))
    args = algo.Args(**tiny_images, steps=2, log_every=2, out=str(tmp_path), device="cpu", seed=3)
    z = []
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *size, **o: z.append(randn(*size, **o)) or z[-1])
    algo.train(args)
    (z_fixed,) = [x for x in z if x.shape[0] == 1000]
    (folder,) = tmp_path.glob("*-folder-s3")
    run = Trained(folder, "cpu")
    assert run.shape == (3, 16, 16) and run.step == 2
    difference = run.sample(z_fixed).int() - as_bytes(seen[-1]).int()
    assert difference.abs().max() <= 1  # other batches and memory layout: rounding


def test_grid_pngs_walk_and_film_of_images(tmp_path, tiny_images):
    args = ALGOS["gan"].Args(**tiny_images, steps=3, log_every=1, out=str(tmp_path), device="cpu")
    ALGOS["gan"].train(args)
    folder = str(tmp_path / "gan-folder-s1")
    sample.main(sample.Args(folder, count=3, interpolate=2, film=True, device="cpu"))
    out = tmp_path / "gan-folder-s1" / "generated"
    singles = out / "step3-seed1"
    assert Image.open(out / "grid.png").size == (8 * 16, 8 * 16)
    assert Image.open(out / "interpolation.png").size == (10 * 16, 2 * 16)
    assert Image.open(out / "training.gif").n_frames >= 2
    single = [Image.open(singles / f"{i:05d}.png") for i in range(3)]
    assert all(image.size == (16, 16) for image in single) and len(list(singles.iterdir())) == 3
    grid = Image.open(out / "grid.png")
    run = Trained(folder, "cpu")
    first = run.sample(run.latents(64, 1))[0].permute(1, 2, 0).numpy()
    assert Image.fromarray(first).tobytes() == grid.crop((0, 0, 16, 16)).tobytes() == single[0].tobytes()
    walk = Image.open(out / "interpolation.png")
    ends = [walk.crop((x, 0, x + 16, 16)).tobytes() for x in (0, 144)]
    assert ends[0] != ends[1] and ends[0] == single[0].tobytes()  # from the first latent to the second
    assert max(abs(a - b) for a, b in zip(ends[1], single[1].tobytes(), strict=True)) <= 1
    sample.main(sample.Args(folder, seed=2, count=1, out=str(tmp_path / "other"), device="cpu"))
    assert Image.open(tmp_path / "other" / "grid.png").tobytes() != grid.tobytes()
    assert Image.open(tmp_path / "other" / "step3-seed2" / "00000.png").tobytes() != single[0].tobytes()


def test_film_is_in_the_order_of_the_steps(points, tmp_path):
    """Names of unequal length: 9 before 10."""
    (tmp_path / "samples").mkdir()
    for name in ("config.json", "checkpoint.pt"):
        (tmp_path / name).write_bytes((points / name).read_bytes())
    for step in (9, 10):
        Image.new("L", (8, 8), 20 * step).save(tmp_path / "samples" / f"{step}.png")
    sample.main(sample.Args(str(tmp_path), film=True, device="cpu"))
    film = Image.open(tmp_path / "generated" / "training.gif")
    shades = []
    for frame in range(film.n_frames):
        film.seek(frame)
        shades.append(film.convert("L").getpixel((0, 0)))
    assert shades[0] == 180 and shades[-1] == 200


def test_pixels_are_rounded_and_clamped():
    x = torch.tensor([-2.0, -1.0, 0.0, 0.0059, 0.999, 1.0, 3.0])
    assert as_bytes(x).tolist() == [0, 0, 128, 128, 255, 255, 255]


def test_points(points, tmp_path):
    ended = script("scripts/sample.py", points, "--count", 5, "--film", "--out", tmp_path, "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    assert len((tmp_path / "points.csv").read_text().splitlines()) == 6
    assert Image.open(tmp_path / "grid.png").size == (480, 524)
    for wrong in ({"count": -1}, {"interpolate": -1}, {"seed": 2**70}):
        with pytest.raises(RunError, match=f"--{[*wrong][0]}"):
            sample.main(sample.Args(str(points), device="cpu", **wrong))
    with pytest.raises(RunError, match="for images"):
        sample.main(sample.Args(str(points), interpolate=1, device="cpu"))


def test_a_folder_that_is_no_run_is_refused_in_one_line(points, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["sample.py", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit) as ended:
        command(sample.main, sample.Args, sample.__doc__)  # Python prints the text on stderr, with status 1
    assert "nothing is not a run" in ended.value.code and "\n" not in ended.value.code
    (tmp_path / "checkpoint.pt").write_bytes((points / "checkpoint.pt").read_bytes()[:1000])
    (tmp_path / "config.json").write_text((points / "config.json").read_text())
    with pytest.raises(RunError, match="not a run"):
        Trained(tmp_path, "cpu")
    config = json.loads((points / "config.json").read_text())
    config["args"]["width"] = 65  # not the width of the checkpoint
    (tmp_path / "checkpoint.pt").write_bytes((points / "checkpoint.pt").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match="not a run"):
        Trained(tmp_path, "cpu")


def test_one_call_gives_the_generator_back(points):
    """n new samples, which are those of the latents of seed 1."""
    run = Trained(points)
    assert run.sample(7).shape == (7, 2) and not run.G.training
    assert torch.equal(run.sample(7), run.sample(run.latents(7, seed=1)))
    assert not torch.equal(run.sample(7), run.sample(run.latents(7, seed=2)))


def test_slerp_keeps_to_the_shell():
    a, b = torch.randn(2, 64, generator=torch.Generator().manual_seed(0)).double()
    b = b / b.norm() * a.norm()
    arc = sample.slerp(a, b, 9)
    torch.testing.assert_close(arc[0], a)
    torch.testing.assert_close(arc[-1], b)
    torch.testing.assert_close(arc.norm(dim=1), a.norm().expand(9))
    steps = arc.diff(dim=0).norm(dim=1)
    torch.testing.assert_close(steps, steps[:1].expand(8))  # even
    torch.testing.assert_close(sample.slerp(a, a, 3), a.expand(3, 64))


@pytest.mark.parametrize("shape", [(2,), (1, 16, 16)])
def test_a_run_on_own_data_is_sampled_without_them(shape, tmp_path):
    data = torch.randn(50, 2) if shape == (2,) else torch.randint(256, (50, *shape), dtype=torch.uint8)
    args = {"dataset": "ring" if shape == (2,) else "folder", "width": 8, "batch_size": 8, "steps": 1}
    trained = ALGOS["nsgan"].train(ALGOS["nsgan"].Args(**args, out=str(tmp_path), device="cpu"), data)
    moved = Path(trained["folder"]).rename(tmp_path / "renamed")  # what it learned does not hang on its name
    run = Trained(moved, "cpu")
    assert run.dataset == "own" and run.sample(3).shape == (3, *shape)
    sample.main(sample.Args(str(moved), count=3, device="cpu"))
    assert (moved / "generated" / "grid.png").exists()
