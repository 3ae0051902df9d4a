"""Films of trainings: samples and D's landscape at a few updates, recorded from a file's own run, packed, drawn.

film = record("nsgan", "ring")         # trains algos/nsgan.py, bit for bit as `--seed 41` does
write(film, path); film = read(path)   # an .npz of 10 to 60 kB
pictures(film)                         # its frames, as images

A run's folder has no landscapes but that of its last checkpoint: `last_landscape`.
"""

import importlib
import io
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this is a library; the command that uses it is: python scripts/page.py")

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from common.args import RunError
from common.data import fixed_sample, load_data
from common.draw import as_bytes
from common.metrics import evaluate
from common.run import read_checkpoint, read_json
from scripts.lib.inside import inside, settings_of, updates
from scripts.lib.suites import FIRST_SEED, settings_key

FRAMES, POINTS, IMAGES = 20, 600, 36  # of a film; of a frame
CELLS = 40  # of the landscape, along each side
SIDE = 176  # pixels of a picture of points
LOW, MIDDLE, HIGH = (150, 172, 212), (240, 242, 246), (255, 208, 128)  # where D says fake, neither, real
BANDS = np.linspace(0, 1, 12)
COLORS = np.stack([np.interp(BANDS, [0, 0.5, 1], of) for of in zip(LOW, MIDDLE, HIGH, strict=True)], 1).astype(np.uint8)
DOT, COVERED, MISSED = (16, 36, 92), (0, 128, 60), (205, 30, 30)


@dataclass
class Film:
    about: dict
    """algo, dataset, key (a fingerprint of the settings), seed, steps, seconds, and frames: the numbers of each"""
    samples: np.ndarray
    """points [T, n, 2] in 256ths of the picture, or images [T, n, C, H, W]; uint8"""
    landscape: np.ndarray
    """of points [T, CELLS, CELLS], 0 where D is surest of fake, 255 of real; of images empty; uint8"""


# looking inside -----------------------------------------------------------------------------------------------------


def beside(D, x: Tensor, fake: Tensor) -> Tensor:
    """The outputs [n] of a D that compares the samples of a batch: of each x [n, 2] in a batch with `fake`."""
    return torch.vmap(lambda point: D(torch.cat([point[None], fake]))[0], chunk_size=200)(x)


def critic(local: dict, x: Tensor, fake: Tensor) -> Tensor:
    """The Cramer GAN's critic: h(x) compared with the means over samples of G and of the data."""
    D, module = local["D"], sys.modules[type(local["D"]).__module__]
    h_fake, h_real = D(fake), D(fixed_sample(local["data"], len(fake)))
    h_real = h_real if local["args"].critic == "corrected" else torch.zeros_like(h_real)
    return torch.stack([module.critic(h, h_fake, h_real).mean() for h in D(x)[:, None]])


def packs(local: dict, x: Tensor, fake: Tensor) -> Tensor:
    """PacGAN's D: the mean over packs of x and samples of G."""
    others = fake[: 8 * (local["args"].packing - 1)].reshape(8, -1)
    return torch.stack([local["D"](torch.cat([x, other.expand(len(x), -1)], 1)) for other in others]).mean(0)


SCORES = {  # where "high = real" is not D(x)
    "began": lambda local, x, fake: -local["D"](x),
    "cramer": critic,
    "d2gan": lambda local, x, fake: local["D1"](x) - local["D2"](x),
    "dual_d_selu": lambda local, x, fake: beside(local["D1"], x, fake) - local["D2"](x),
    "minibatch_discrimination": lambda local, x, fake: beside(local["D"], x, fake),
    "pacgan": packs,
}


@torch.no_grad()
def score(local: dict, x: Tensor) -> Tensor:
    """How real the discriminator of `inside(...)` takes points x [n, 2] to be, [n]. Draws no random numbers."""
    fake = local["G"](local["run"].z[:31])
    return SCORES.get(local["run"].algo, lambda local, x, fake: local["D"](x))(local, x, fake)


def reach(data) -> float:
    """Half the side of the part of the plane that a picture shows."""
    return 1.45 * data.modes.abs().max().item()


def landscape(local: dict) -> np.ndarray:
    """D's scores over the picture, [CELLS, CELLS] uint8, from the top; stretched to their range, without outliers."""
    line = ((torch.arange(CELLS) + 0.5) / CELLS * 2 - 1) * reach(local["data"])
    y, x = torch.meshgrid(-line, line, indexing="ij")
    scores = score(local, torch.stack([x, y], 2).view(-1, 2)).view(CELLS, CELLS)
    low, high = torch.quantile(scores, torch.tensor([0.02, 0.98]))
    return ((scores - low) / (high - low).clamp(min=1e-9)).clamp(0, 1).mul(255).byte().numpy()


def places(points: Tensor, data) -> np.ndarray:
    """The first POINTS of these points in 256ths of the picture, from its upper left corner; 0 or 255: outside."""
    return ((points[:POINTS] * torch.tensor([1, -1]) / reach(data) + 1) * 128).clamp(0, 255).byte().numpy()


def covered(points: Tensor, data) -> str:
    """A 1 for each mode that is the nearest one to at least a tenth of its fair share of the points, else 0."""
    counts = torch.bincount(torch.cdist(points, data.modes).argmin(1), minlength=len(data.modes))
    return "".join(str(int(count >= 0.1 * len(points) / len(data.modes))) for count in counts)


def moments(steps: int) -> list[int]:
    """The updates of a film's frames, closer together at the beginning, where more happens."""
    return sorted({max(round(steps * (i / FRAMES) ** 1.5), 1) for i in range(1, FRAMES + 1)})


def key(algo: str, dataset: str, flags: str = "") -> str:
    """A fingerprint of the settings of a film: another default makes another film."""
    return settings_key(f"algos/{algo}.py --dataset {dataset} {flags}".strip())


def record(algo: str, dataset: str, steps: int = 0) -> Film:
    """Trains a file with its defaults, or for fewer steps, and keeps what a film shows."""
    flags = {"steps": steps} if steps else {}
    local = inside(importlib.import_module(f"algos.{algo}"), dataset=dataset, seed=FIRST_SEED, **flags)
    run, args, data, begin = local["run"], local["args"], local["data"], time.perf_counter()
    update, last = local["update"], {}
    local["update"] = lambda: last.update(update())
    samples, landscapes, frames = [], [], []
    for step in updates(local):
        if step not in moments(args.steps):
            continue
        fake = run._samples(local["G"])
        numbers = {name: value.mean().item() for name, value in last.items()} | evaluate(data, fake)
        frames.append({"step": step} | {k: float(f"{v:.4g}") for k, v in numbers.items() if v is not None})
        if run.points:
            samples.append(places(fake, data))
            landscapes.append(landscape(local))
            frames[-1]["covered"] = covered(fake, data)
        else:
            samples.append(as_bytes(fake[:IMAGES]).numpy())
    about = {"algo": algo, "dataset": dataset, "key": key(algo, dataset, f"--steps {steps}" if steps else "")}
    about |= {"seed": args.seed, "steps": args.steps, "seconds": round(time.perf_counter() - begin), "frames": frames}
    return Film(about, np.stack(samples), np.stack(landscapes) if landscapes else np.empty(0, np.uint8))


def write(film: Film, path: Path) -> None:
    """Writes a film, whole or not at all."""
    buffer = io.BytesIO()
    about = np.frombuffer(json.dumps(film.about).encode(), np.uint8)
    np.savez_compressed(buffer, about=about, samples=film.samples, landscape=film.landscape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_bytes(buffer.getvalue())
    path.with_suffix(".tmp").replace(path)


def read(path: Path) -> Film:
    with np.load(path) as stored:
        return Film(json.loads(stored["about"].tobytes()), stored["samples"], stored["landscape"])


# a run's folder -----------------------------------------------------------------------------------------------------


def last_landscape(folder: Path) -> tuple[int, Image.Image]:
    """D's landscape and G's samples at a run's last checkpoint, and its update. Raises RunError where there is none.

    Only of data sets with known modes, and of runs of the files in algos/.
    """
    try:
        config = read_json(folder / "config.json")
        saved = read_checkpoint((folder / "checkpoint.pt").read_bytes(), torch.device("cpu"))
        module = importlib.import_module(f"algos.{saved['algo']}")
        known = module.Args.__dataclass_fields__
        local = inside(module, **{name: value for name, value in config["args"].items() if name in known})
        for name, part in saved["state"].items():
            if isinstance(local[name], torch.nn.Module):
                local[name].load_state_dict(part)
        local["run"].z = torch.randn(2500, local["args"].z_dim, generator=torch.Generator().manual_seed(1))
        with settings_of(local), torch.no_grad():
            fake = local["G"](local["run"].z)
            data = local["data"]
            return saved["step"], picture(places(fake, data), landscape(local), data, covered(fake, data))
    except Exception as error:  # as for a damaged or foreign file, which makes torch raise nearly anything
        raise RunError((str(error).splitlines() or [type(error).__name__])[0]) from None


# pictures -----------------------------------------------------------------------------------------------------------


def picture(points: np.ndarray, landscape: np.ndarray, data, covered: str) -> Image.Image:
    """Dots [n, 2] over D's landscape, in twelve bands, with a circle at each mode: green if covered, red if missed."""
    side = 2 * SIDE  # drawn twice as large, for smooth edges
    bands = np.asarray(Image.fromarray(landscape).resize((side, side), Image.Resampling.BICUBIC)) // 22
    image = Image.fromarray(COLORS[bands])
    canvas, scale = ImageDraw.Draw(image), side / (2 * reach(data))
    inside = points[((points > 0) & (points < 255)).all(1)]
    for x, y in inside / 256 * side:
        canvas.circle((x, y), 2.6, fill=DOT)
    for (x, y), yes in zip((data.modes * torch.tensor([1, -1]) * scale + side / 2).tolist(), covered, strict=True):
        color = COVERED if yes == "1" else MISSED
        canvas.circle((x, y), side / 24 if len(data.modes) < 20 else side / 34, outline=color, width=4)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def tiled(images: np.ndarray) -> Image.Image:
    """36 images [n, C, H, W] as a square, with a line between them."""
    n, channels, size, _ = images.shape
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=64)
    rows, size = round(n**0.5), size + 2
    grid = framed.reshape(rows, rows, channels, size, size).transpose(0, 3, 1, 4, 2)
    return Image.fromarray(grid.reshape(rows * size, rows * size, channels).squeeze())


def pictures(film: Film) -> list[Image.Image]:
    """The frames of a film."""
    if film.samples.ndim == 3:
        data = load_data(film.about["dataset"])
        parts = zip(film.samples, film.landscape, film.about["frames"], strict=True)
        return [picture(points, below, data, frame["covered"]) for points, below, frame in parts]
    return [tiled(images) for images in film.samples]
