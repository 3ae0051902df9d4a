"""Anybody's images: every file below a folder, decoded once."""

import contextlib
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from common.args import RunError

PLACE = "set XDG_CACHE_HOME to a folder that can be written to"


def cache_folder() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cleangan"
    except RuntimeError:  # a user without a home
        raise RunError(f"no home folder to keep decoded images in: {PLACE}") from None


def folder_images(root: Path, image_size: int) -> Tensor:
    """Every image below `root`, cut to a centred square and resized, [N, C, image_size, image_size] uint8.

    C is 1 if all of them are greyscale, else 3. They are decoded once, into a file below ~/.cache/cleangan that is
    memory-mapped from then on; a changed folder makes a new one. Damaged files are named and skipped.
    """

    def is_grey(file: Path) -> bool:
        with contextlib.suppress(Exception), Image.open(file) as image:
            return image.mode in ("1", "L", "LA") or image.mode[0] == "I"
        return True  # it cannot be read

    def decode(file: Path) -> bytes | str:
        """The pixels in the order [C, H, W], or what is wrong with the file."""
        try:
            with Image.open(file) as image:
                image = ImageOps.exif_transpose(image)
                if image.mode == "F":
                    raise ValueError("no range is known of pixels that are floating-point numbers")
                if image.mode.startswith("I"):  # more than 8 bits, which convert("L") would cut off at 255
                    image = image.convert("I").point(lambda value: value * (1 / 256))
                image = image.convert("L" if grey else "RGB")
                image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
            return b"".join(channel.tobytes() for channel in image.split())
        except MemoryError:  # no fault of the file, which would be missing from then on
            raise
        except Exception as error:  # a damaged file makes PIL raise nearly anything
            return f"{str(file)!r}: {error}"

    if not root.is_dir():
        raise RunError(f"no folder of images at {root}: name one with --data-root")
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    seen, files = set(), []
    for folder, subfolders, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:  # a link back
            subfolders.clear()
        else:
            seen.add(real)
            files += [Path(folder, name) for name in names]
    if not (files := sorted(file for file in files if file.suffix.lower() in endings and file.is_file())):
        raise RunError(f"no images below {root}: nothing there has the ending of a format that Pillow reads")
    about = [(str(file.relative_to(root)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = hashlib.sha256(repr((str(root.resolve()), image_size, about)).encode()).hexdigest()[:16]
    cache = cache_folder()

    def shape(file: Path) -> torch.Size:
        return torch.Size(int(size) for size in file.name.split("-")[1].split("x"))

    found = [file for file in cache.glob(f"{key}-*x*") if file.stat().st_size == shape(file).numel()]  # whole ones
    if not found:
        temporary, failed = cache / f"{key}.{os.getpid()}.tmp", []
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as out, ThreadPoolExecutor() as pool:
                grey = all(pool.map(is_grey, files))
                for pixels in tqdm(pool.map(decode, files), f"decoding {root}", len(files), disable=None):
                    failed.append(pixels) if isinstance(pixels, str) else out.write(pixels)
            if failed:
                print(
                    f"{len(failed)} of {len(files)} files below {root} are unreadable and skipped:", *failed, sep="\n  "
                )
            if len(failed) == len(files):
                raise RunError(f"no image below {root} can be read")
            name = f"{key}-{len(files) - len(failed)}x{1 if grey else 3}x{image_size}x{image_size}"
            found = [temporary.replace(cache / name)]
        except OSError as error:
            raise RunError(f"cannot write the decoded images to {cache} ({error.strerror}): {PLACE}") from None
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    pixels = torch.from_file(str(found[0]), size=shape(found[0]).numel(), dtype=torch.uint8)
    return pixels.view(shape(found[0]))
