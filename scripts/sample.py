"""Samples from a trained run, on any device: a grid, single images, walks between latents, the film of its training.

    python scripts/sample.py runs/nsgan-fashion_mnist-s1                            # grid.png: 64 samples
    python scripts/sample.py runs/nsgan-fashion_mnist-s1 --count 1000 --interpolate 8 --film

Writes into RUN/generated, or --out. The run's folder needs config.json and checkpoint.pt; the data set is not needed.
In Python: scripts/lib/trained.py.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.args import RunError
from common.data import Cloud, load_data
from common.draw import draw, film
from common.metrics import evaluate
from scripts.lib.command import command
from scripts.lib.trained import Trained


@dataclass
class Args:
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """folder of a run"""
    count: int = 0
    """number of samples to write one by one: images into a folder of their own, points into points.csv"""
    interpolate: int = 0
    """number of rows of interpolation.png: ten images each, on the way from one latent to another"""
    film: bool = False
    """write training.gif from the pictures that the run left behind, which all show the same latents"""
    seed: int = 1
    """seed of the latents: the same seed gives the same samples"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    out: str = ""
    """folder to write into; default: the folder `generated` in the run's"""


def slerp(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Points on the arc from a to b [z_dim], ends included, [steps, z_dim]: a straight line would leave the shell.

    Shoemake 1985, Animating rotation with quaternion curves; for latents White 2016, arXiv 1609.04468.
    """
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    t = torch.linspace(0, 1, steps).to(a)[:, None]
    if angle.sin() < 1e-4:
        return (1 - t) * a + t * b
    return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()


def save_grid(images: Tensor, path: Path, columns: int) -> None:
    from torchvision.utils import save_image  # here, because it takes seconds to import

    save_image(images.float() / 255, path, nrow=columns, padding=0)


def write_points(run: Trained, args: Args, out: Path) -> None:
    """grid.png, a picture of 2,500 samples over the true modes where these are known, and points.csv."""
    points = run.sample(run.latents(max(args.count, 2500), args.seed))
    shown, title = points[:2500], f"{run.algo} on {run.dataset}, step {run.step}"
    data = Cloud(shown) if run.dataset == "own" else load_data(run.dataset)
    draw(data, shown, title, {} if run.dataset == "own" else evaluate(data, shown)).save(out / "grid.png")
    if args.count:
        rows = "".join(f"{x:.6g},{y:.6g}\n" for x, y in points[: args.count].tolist())
        (out / "points.csv").write_text(f"x,y\n{rows}")


def write_images(run: Trained, args: Args, out: Path, singles: Path) -> None:
    """grid.png, single images, and interpolation.png."""
    from PIL import Image

    save_grid(run.sample(run.latents(64, args.seed)), out / "grid.png", 8)
    for i, image in enumerate(run.sample(run.latents(args.count, args.seed), True) if args.count else []):
        Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(singles / f"{i:05d}.png")
    if args.interpolate:
        ends = run.latents(2 * args.interpolate, args.seed).view(args.interpolate, 2, -1)
        walks = run.sample(torch.cat([slerp(a, b, 10) for a, b in ends]))
        save_grid(walks, out / "interpolation.png", 10)


def main(args: Args) -> None:
    for name in ("count", "interpolate", "seed"):
        if not 0 <= getattr(args, name) < 2**32:  # of a seed a CPU's random numbers depend on no more
            raise RunError(f"--{name} {getattr(args, name)}: must be from 0 to 2**32 - 1")
    run = Trained(args.run, args.device)
    points = len(run.shape) == 1
    if args.interpolate and points:
        raise RunError("--interpolate is for images")
    frames = [file for file in (Path(args.run) / "samples").glob("*.png") if re.fullmatch(r"\d+", file.stem)]
    if args.film and not frames:
        raise RunError(f"no pictures in {Path(args.run) / 'samples'} to animate")
    out = Path(args.out or Path(args.run) / "generated")
    singles = out / f"step{run.step}-seed{args.seed}"
    try:
        (singles if args.count and not points else out).mkdir(parents=True, exist_ok=True)
        if points:
            write_points(run, args, out)
        else:
            write_images(run, args, out, singles)
        if args.film:
            (out / "training.gif").write_bytes(film(sorted(frames, key=lambda file: int(file.stem))))
    except OSError as error:
        raise RunError(f"--out {out} cannot be written to: {error.strerror}") from None
    print(f"{run.algo} on {run.dataset}, step {run.step}: {out}")


if __name__ == "__main__":
    command(main, Args, __doc__)
