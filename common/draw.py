"""Pictures of samples, and the film of a training."""

import io
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from common.data import fixed_sample


def draw(data, fake: Tensor, title: str, numbers: dict) -> Image.Image:
    """Points: dots over rings at the true modes, green if covered, red if missed. Images: a grid of 64.

    fake: [n, *data.shape]; of points without known modes the real ones lie below, in grey.
    """
    if data.shape != (2,):
        channels, size, _ = data.shape
        tiles = as_bytes(fake[:64]).cpu()
        if size < 16:  # small digits fill their tiles, and would run into each other
            tiles, size = F.pad(tiles, (1, 1, 1, 1), value=64), size + 2
        grid = tiles.view(8, 8, channels, size, size).permute(0, 3, 1, 4, 2).reshape(8 * size, 8 * size, channels)
        image, scale = Image.fromarray(grid.squeeze(2).numpy()), max(512 // (8 * size), 1)
        return image.resize((8 * size * scale, 8 * size * scale), Image.Resampling.NEAREST)
    side, top, fake = 480, 44, fake.cpu()
    modes = getattr(data, "modes", torch.empty(0, 2)).cpu()
    real = torch.empty(0, 2) if len(modes) else fixed_sample(data, len(fake)).cpu()
    scale = side / (3.2 * torch.cat([modes, real]).abs().max().item())
    image = Image.new("RGB", (side, side + top), "white")
    canvas = ImageDraw.Draw(image)
    origin, upwards = torch.tensor([side / 2, side / 2 + top]), torch.tensor([scale, -scale])
    said = f"swd {numbers['swd']:.3g}" if "swd" in numbers else ""
    if len(modes):
        share = torch.bincount(torch.cdist(fake, modes).argmin(dim=1), minlength=len(modes)) / len(fake)
        for center, mass in zip(modes * upwards + origin, share, strict=True):
            color = "green" if mass >= 0.1 / len(modes) else "red"
            canvas.circle(center.tolist(), max(9, 3 * data.std * scale), outline=color, width=2)
        said = f"{numbers['coverage']} of {len(modes)} modes covered, {numbers['high_quality']:.0%} of samples sharp"
    for points, color in ((real, "lightgrey"), (fake, "royalblue")):
        for point in (points * upwards + origin).tolist():
            canvas.circle(point, 1, fill=color)
    canvas.rectangle((0, 0, side, top), fill="whitesmoke")
    canvas.text((8, 3), f"{title}\n{said}", "black", ImageFont.load_default(15))
    return image


def film(files: list[Path]) -> bytes:
    """A GIF of these pictures, at most 200 of them; the last once more, for three seconds."""
    files = files[:: math.ceil(len(files) / 200)] + files[-1:]
    frames = (Image.open(file).copy() for file in files)
    wait = [150] * (len(files) - 1) + [3000]  # milliseconds
    return encode(next(frames), "GIF", save_all=True, append_images=frames, duration=wait, loop=0)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    """The file of an image, in a format that Pillow knows by this name: PNG, GIF."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_bytes(images: Tensor) -> Tensor:
    """Pixels in [-1, 1] as uint8."""
    return images.add(1).mul(127.5).round().clamp(0, 255).byte()
