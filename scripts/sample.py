"""Samples from a trained run, on any device: a grid, single images, walks between latents, the film of its training.

    python scripts/sample.py runs/nsgan-fashion_mnist-s1                            # grid.png: 64 samples
    python scripts/sample.py runs/nsgan-fashion_mnist-s1 --count 1000 --interpolate 8 --film

Writes into RUN/generated, or --out. The run's folder needs config.json and checkpoint.pt; the data set only for points.
"""

import hashlib
import importlib
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from common.run import as_bytes, check, draw, film, pick_device, read_json  # noqa: E402


@dataclass
class Args:
    run: tyro.conf.Positional[str]
    """folder of a run"""
    count: int = 0
    """so many single images, in a folder of this step and seed (points: one file, points.csv)"""
    interpolate: int = 0
    """so many rows of ten images each, on the way from one latent to another"""
    film: bool = False
    """training.gif: the grids that the run left behind, which have the same latents"""
    seed: int = 1
    """seed of the latents"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    out: str = ""
    """folder to write into; default: generated, in the run's"""


def fingerprint(*parts: bytes | str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:16]


class Trained:
    """The generator of a run's last checkpoint. Ends the program with one line if there is none that can be read.

    module: that of the file which made the run, if it is not one of algos/.
    """

    def __init__(self, folder: str | Path, device: torch.device, module=None):
        path = Path(folder) / "checkpoint.pt"
        self.config = read_json(Path(folder) / "config.json")
        try:
            content = path.read_bytes()
            saved = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
            args, weights = self.config["args"], saved["state"]["G"]
            points = args["dataset"] in ("ring", "grid")
            self.algo, self.step, self.dataset = saved["algo"], saved["step"], args["dataset"]
            channels = len(list(weights.values())[-1])  # the last bias has one number for each
            self.shape = (2,) if points else (channels, args["image_size"], args["image_size"])
            self.z_dim = args["z_dim"] or (2 if points else 64)
            self.module = module or importlib.import_module(f"algos.{self.algo}")
            self.G = self.module.Generator(self.z_dim, self.shape, args["width"]).to(device)
            self.G.load_state_dict(weights)
        except Exception as error:  # a damaged or foreign file makes torch raise nearly anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise SystemExit(f"{folder} is not a run whose checkpoint can be read: {reason}") from None
        self.G.eval()
        self.device, self.fingerprint = device, fingerprint(content)

    def latents(self, n: int, seed: int) -> Tensor:
        """n latents [n, z_dim], the same on every device."""
        return torch.randn(n, self.z_dim, generator=torch.Generator().manual_seed(seed)).to(self.device)

    @torch.no_grad()
    def sample(self, z: Tensor, progress: bool = False) -> Tensor:
        """Samples [n, *shape] of latents z [n, z_dim], on the CPU; images as uint8."""
        parts = tqdm(z.split(250), f"{self.algo}, step {self.step}", disable=None if progress else True)
        samples = torch.cat([self.G(part) if len(self.shape) == 1 else as_bytes(self.G(part)) for part in parts])
        return samples.cpu()


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


def main(args: Args) -> None:
    run = Trained(args.run, pick_device(args.device))
    check(args)
    if args.interpolate and len(run.shape) == 1:
        raise SystemExit("--interpolate is for images")
    frames = [file for file in (Path(args.run) / "samples").glob("*.png") if re.fullmatch(r"\d+", file.stem)]
    if args.film and not frames:
        raise SystemExit(f"no pictures in {Path(args.run) / 'samples'} to animate")
    out = Path(args.out or Path(args.run) / "generated")
    singles = out / f"step{run.step}-seed{args.seed}"
    try:
        (singles if args.count and len(run.shape) > 1 else out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"--out {out} cannot be made: {error.strerror}") from None
    if len(run.shape) == 1:
        from common.data import load_data
        from common.metrics import evaluate

        data, points = load_data(run.dataset), run.sample(run.latents(max(args.count, 2500), args.seed))
        title = f"{run.algo} on {run.dataset}, step {run.step}"
        draw(data, points[:2500], title, evaluate(data, points[:2500])).save(out / "grid.png")
        if args.count:
            rows = "".join(f"{x:.6g},{y:.6g}\n" for x, y in points[: args.count].tolist())
            (out / "points.csv").write_text(f"x,y\n{rows}")
    else:
        from PIL import Image

        save_grid(run.sample(run.latents(64, args.seed)), out / "grid.png", 8)
        for i, image in enumerate(run.sample(run.latents(args.count, args.seed), True) if args.count else []):
            Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(singles / f"{i:05d}.png")
    if args.interpolate:
        ends = run.latents(2 * args.interpolate, args.seed).view(args.interpolate, 2, -1)
        walks = run.sample(torch.cat([slerp(a, b, 10) for a, b in ends]))
        save_grid(walks, out / "interpolation.png", 10)
    if args.film:
        (out / "training.gif").write_bytes(film(sorted(frames, key=lambda file: int(file.stem))))
    print(f"{run.algo} on {run.dataset}, step {run.step}: {out}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__.splitlines()[0]))
