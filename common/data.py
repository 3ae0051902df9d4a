"""Data sets that live on the device: no DataLoader, a batch is drawn by index."""

import contextlib
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from common.processes import WORLD, agree

TORCHVISION = {  # name: (class in torchvision.datasets, where it looks below the data root)
    "mnist": ("MNIST", "MNIST/raw"),
    "fashion_mnist": ("FashionMNIST", "FashionMNIST/raw"),
    "stacked_mnist": ("MNIST", "MNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
    "celeba": ("CelebA", "celeba"),
}
NAMES = ["ring", "grid", *TORCHVISION, "folder"]


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cleangan"


class Points:
    """A mixture of Gaussians in the plane with equal weights, sampled exactly.

    modes: [K, 2], the means. std: the standard deviation of every mode, the same in all directions.
    """

    shape = (2,)
    on_device = True

    def __init__(self, modes: Tensor, std: float):
        self.modes, self.std = modes, std

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n independent points, [n, 2]."""
        device = self.modes.device
        mode = torch.randint(len(self.modes), (n,), device=device, generator=generator)
        return self.modes[mode] + self.std * torch.randn(n, 2, device=device, generator=generator)


class Images:
    """Images as uint8, sampled with replacement by index and scaled to [-1, 1].

    images: [N, C, H, W] uint8, on `device` if they fit into its memory, else left on the host.
    stack: so many random images become the channels of one (stacked MNIST: 3 digits, 1000 modes).
    """

    def __init__(self, images: Tensor, device: torch.device, stack: int = 1):
        fits = device.type != "cuda" or images.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]
        self.images = images.to(device) if fits else images
        if not fits:
            print(f"{images.nbytes / 1e9:.1f} GB of images stay in the host's memory: no CUDA graph")
        self.device, self.stack, self.on_device = device, stack, fits
        self.shape = (images.shape[1] * stack, *images.shape[2:])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n independent images, [n, *shape] float32 in [-1, 1] on the device."""
        count, host = n * self.stack, self.images.device
        index = torch.randint(len(self.images), (count,), device=host, generator=generator)
        return self.images[index].to(self.device).view(n, *self.shape).float() / 127.5 - 1


def load_data(name: str, root: str = "data", image_size: int = 32, device: str | torch.device = "cpu"):
    """The data set `name` (one of NAMES) as Points or Images: an object with .shape and .sample(n).

    ring: 8 Gaussians on a circle of radius 2, sd 0.02. grid: 25 Gaussians, spacing 2, sd 0.05 (Lin et al.
    2018, PacGAN, 1712.04086, table 1, scaled by 2 for the ring). folder: every image below `root`.
    Images come as [C, image_size, image_size]; 28x28 digits are padded to 32x32, not stretched.
    Bad input ends the program with one line (SystemExit).
    """
    device = torch.device(device)
    if name == "ring":
        angle = torch.arange(8, device=device) * (torch.pi / 4)
        return Points(2 * torch.stack([angle.cos(), angle.sin()], dim=1), std=0.02)
    if name == "grid":
        line = torch.arange(-4.0, 5.0, 2.0, device=device)
        return Points(torch.cartesian_prod(line, line), std=0.05)
    if name != "folder" and name not in TORCHVISION:
        raise SystemExit(f"unknown data set {name!r}; there are: {', '.join(NAMES)}")

    def load() -> Tensor:
        return _folder(Path(root), image_size) if name == "folder" else torchvision_images(name, root, image_size)[0]

    if WORLD > 1:  # the first process downloads or decodes them, and the others wait
        agree(lambda: load() is None)
    return Images(load(), device, stack=3 if name == "stacked_mnist" else 1)


def torchvision_images(name: str, root: str, image_size: int, train: bool = True) -> tuple[Tensor, Tensor | None]:
    """The images of a torchvision data set [N, C, size, size] uint8, downloaded if need be, and their labels [N].

    Of celeba all images, without labels. stacked_mnist: single digits.
    """
    import torchvision  # here, because it takes seconds to import and points need none of it

    class_name, folder = TORCHVISION[name]
    kind = getattr(torchvision.datasets, class_name)
    try:
        if name == "celeba":
            kind(root, split="all", download=True)
            return _folder(Path(root) / folder / "img_align_celeba", image_size), None
        part = kind(root, train=train, download=True)
        images, labels = torch.as_tensor(part.data), torch.as_tensor(part.targets)
    except Exception as error:  # many kinds: no network, no gdown, a damaged or foreign file
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise SystemExit(
            f"{name}: cannot be read from {Path(root) / folder}, nor downloaded there ({reason}).\n"
            "Put its files there by hand, or name another folder with --data-root; ring and grid need none."
        ) from None
    images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
    if images.shape[-1] == 28:
        images = F.pad(images, (2, 2, 2, 2))
    if images.shape[-1] != image_size:
        images = F.interpolate(images, (image_size, image_size), mode="bilinear", antialias=True)
    return images, labels


def _folder(root: Path, image_size: int) -> Tensor:
    """Every image below `root`, cut to a centred square and resized, [N, C, image_size, image_size] uint8.

    C is 1 if all of them are greyscale, else 3. They are decoded once, into a file below ~/.cache/cleangan
    that is memory-mapped from then on; a changed folder makes a new one. Damaged files are named and skipped.
    """
    from PIL import Image, ImageOps
    from tqdm import tqdm

    if not root.is_dir():
        raise SystemExit(f"no folder of images at {root}: name one with --data-root")
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    seen, files = set(), []
    for folder, subfolders, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:  # a link back
            subfolders.clear()
            continue
        seen.add(real)
        files += [file for file in (Path(folder, name) for name in names) if file.suffix.lower() in endings]
    if not (files := sorted(file for file in files if file.is_file())):
        raise SystemExit(f"no images below {root}: nothing there has the ending of a format that Pillow reads")
    about = [(str(file.relative_to(root)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = hashlib.sha256(repr((str(root.resolve()), image_size, about)).encode()).hexdigest()[:16]
    cache = cache_folder()
    temporary = cache / f"{key}.{os.getpid()}.tmp"

    def mode(file: Path) -> str:
        with contextlib.suppress(Exception), Image.open(file) as image:
            return image.mode
        return "unreadable"

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
        except Exception as error:  # a damaged file makes PIL raise nearly anything
            return f"{str(file)!r}: {error}"

    if not (found := [*cache.glob(f"{key}-*")]):
        failed = []
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as out, ThreadPoolExecutor() as pool:
                grey = all(m in ("1", "L", "LA", "unreadable") or m[0] == "I" for m in pool.map(mode, files))
                for pixels in tqdm(pool.map(decode, files), f"decoding {root}", len(files), disable=None):
                    failed.append(pixels) if isinstance(pixels, str) else out.write(pixels)
            count = len(files) - len(failed)
            if failed:
                lost = f"{len(failed)} of {len(files)} files below {root} are unreadable and skipped:"
                print(lost, *failed, sep="\n  ")
            if not count:
                raise SystemExit(f"no image below {root} can be read")
            found = [cache / f"{key}-{count}x{1 if grey else 3}x{image_size}x{image_size}"]
            os.replace(temporary, found[0])
        except OSError as error:
            raise SystemExit(f"cannot write the decoded images to {cache}: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    shape = torch.Size(int(size) for size in found[0].name.split("-")[1].split("x"))
    return torch.from_file(str(found[0]), size=shape.numel(), dtype=torch.uint8).view(shape)
