"""Data sets that live on the device: no DataLoader, a batch is drawn by index."""

from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from common.args import RunError
from common.folder import folder_images
from common.processes import agree

TORCHVISION = {  # name: (class in torchvision.datasets, where it looks below the data root)
    "mnist": ("MNIST", "MNIST/raw"),
    "fashion_mnist": ("FashionMNIST", "FashionMNIST/raw"),
    "stacked_mnist": ("MNIST", "MNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
    "celeba": ("CelebA", "celeba"),
}
NAMES = ["ring", "grid", "digits", "stacked_digits", *TORCHVISION, "folder"]


class Points:
    """A mixture of Gaussians in the plane with equal weights, sampled exactly.

    modes: [K, 2], the means. std: the standard deviation of every mode, the same in all directions.
    """

    shape, on_device = (2,), True

    def __init__(self, modes: Tensor, std: float):
        self.modes, self.std = modes, std

    def sample(self, n: int) -> Tensor:
        """n independent points, [n, 2]."""
        device = self.modes.device
        mode = torch.randint(len(self.modes), (n,), device=device)
        return self.modes[mode] + self.std * torch.randn(n, 2, device=device)


class Cloud:
    """Points [N, 2] in the plane, sampled with replacement; no modes are known of them."""

    shape, on_device = (2,), True

    def __init__(self, points: Tensor):
        self.points = points

    def sample(self, n: int) -> Tensor:
        """n independent points, [n, 2]."""
        return self.points[torch.randint(len(self.points), (n,), device=self.points.device)]


class Images:
    """Images as uint8, sampled with replacement by index and scaled to [-1, 1].

    images: [N, C, H, W] uint8, on `device` if they fit into its memory, else left on the host.
    stack: so many random images become the channels of one (stacked MNIST: 3 digits, 1000 modes).
    """

    def __init__(self, images: Tensor, device: torch.device, stack: int = 1):
        self.on_device = device.type != "cuda" or images.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]
        if not self.on_device:
            print(f"{images.nbytes / 1e9:.1f} GB of images stay in the host's memory: no CUDA graph")
        self.images, self.device, self.stack = images.to(device) if self.on_device else images, device, stack
        self.shape = (images.shape[1] * stack, *images.shape[2:])

    def sample(self, n: int) -> Tensor:
        """n independent images, [n, *shape] float32 in [-1, 1] on the device."""
        index = torch.randint(len(self.images), (n * self.stack,), device=self.images.device)
        return self.images[index].to(self.device).view(n, *self.shape).float() / 127.5 - 1


def load_data(name: str, root: str = "data", image_size: int = 32, device: str | torch.device = "cpu"):
    """The data set `name` (one of NAMES) as Points or Images: an object with .shape and .sample(n).

    ring: 8 Gaussians on a circle of radius 2, sd 0.02. grid: 25 Gaussians, spacing 2, sd 0.05 (Lin et al. 2018, PacGAN,
    1712.04086, table 1, scaled by 2 for the ring). digits: 1,797 real ones, 8x8; stacked_digits: three of them as
    channels, 1000 modes. folder: every image below `root`. Images come as [C, image_size, image_size], but digits as
    they are; MNIST's 28x28 are padded to 32x32, not stretched. RunError with one line for bad input.
    """
    device = torch.device(device)
    if name == "ring":
        angle = torch.arange(8, device=device) * (torch.pi / 4)
        return Points(2 * torch.stack([angle.cos(), angle.sin()], dim=1), std=0.02)
    if name == "grid":
        line = torch.arange(-4.0, 5.0, 2.0, device=device)
        return Points(torch.cartesian_prod(line, line), std=0.05)
    if name not in NAMES:
        raise RunError(f"unknown data set {name!r}; there are: {', '.join(NAMES)}")

    def load() -> Tensor:
        if name == "folder":
            return folder_images(Path(root), image_size)
        if name.endswith("digits"):
            return digits()[0]
        return labelled_images(name, root, image_size)[0]

    loaded = []  # the first process downloads or decodes them, and the others wait
    agree(lambda: loaded.append(load()))
    return Images(loaded[0] if loaded else load(), device, stack=3 if name.startswith("stacked_") else 1)


def digits() -> tuple[Tensor, Tensor]:
    """The 1,797 handwritten digits that scikit-learn ships: [N, 1, 8, 8] uint8, made of 17 grey levels, and labels."""
    from sklearn.datasets import load_digits  # here, because it takes a second to import

    found = load_digits()
    return torch.as_tensor(found.images * 255 / 16).round().byte()[:, None], torch.as_tensor(found.target)


def labelled_images(name: str, root: str, image_size: int, train: bool = True) -> tuple[Tensor, Tensor | None]:
    """The images of a data set [N, C, size, size] uint8, downloaded if need be, and their labels [N].

    Of celeba all images, without labels. stacked_mnist: single digits. digits: every fifth is for tests.
    """
    if name == "digits":
        images, labels = digits()
        part = (torch.arange(len(images)) % 5 > 0) == train
        return images[part], labels[part]
    import torchvision  # here, because it takes seconds to import and points need none of it

    class_name, folder = TORCHVISION[name]
    kind = getattr(torchvision.datasets, class_name)
    try:
        if name == "celeba":
            kind(root, split="all", download=True)
            return folder_images(Path(root) / folder / "img_align_celeba", image_size), None
        part = kind(root, train=train, download=True)
        images, labels = torch.as_tensor(part.data), torch.as_tensor(part.targets)
    except Exception as error:  # many kinds: no network, no gdown, a damaged or foreign file
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise RunError(
            f"{name}: cannot be read from {Path(root) / folder}, nor downloaded there ({reason}).\n"
            "Put its files there by hand, or name another folder with --data-root; ring and grid need none."
        ) from None
    images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
    if images.shape[-1] == 28:
        images = F.pad(images, (2, 2, 2, 2))
    if images.shape[-1] != image_size:
        images = F.interpolate(images, (image_size, image_size), mode="bilinear", antialias=True)
    return images, labels


def own_data(data, device: torch.device):
    """What train(args, data) takes, as an object with .shape and .sample(n). Raises RunError for other data.

    data: points, a float tensor [N, 2]; images, a uint8 tensor [N, C, H, W], 0 is black; or an object with .shape, (2,)
    or (C, H, W), and .sample(n): n independent samples, float32 [n, *shape], images in [-1, 1], on any device. It may
    have .modes and .std, as Points. A CUDA graph needs it to draw on the run's device, without a copy from the host,
    and to say so by .on_device = True.
    """
    if isinstance(data, Tensor):
        points = data.shape[1:] == (2,) and data.is_floating_point() and data.isfinite().all()
        images = data.dim() == 4 and data.dtype == torch.uint8
        if not (points or images) or not len(data):
            raise RunError(
                f"data is a tensor {tuple(data.shape)} of {data.dtype}: it must be points [N, 2] of finite floats, or "
                "images [N, C, H, W] of uint8, from 0 to 255, so that their range is known"
            )
        data = Cloud(data.to(device, torch.float32)) if points else Images(data, device)
    elif isinstance(data, Points) and data.modes.device != device:
        data = Points(data.modes.to(device), data.std)
    elif isinstance(data, Cloud) and data.points.device != device:
        data = Cloud(data.points.to(device))
    elif isinstance(data, Images) and data.device != device:
        data = Images(data.images, device, data.stack)
    elif not (hasattr(data, "shape") and hasattr(data, "sample")):
        raise RunError(f"data is a {type(data).__name__}: it must be a tensor, or have .shape and .sample(n)")
    elif not isinstance(data, Points | Cloud | Images):
        known = {name: getattr(data, name) for name in ("modes", "std", "on_device") if hasattr(data, name)}
        data = SimpleNamespace(shape=tuple(data.shape), sample=lambda n, own=data: own.sample(n).to(device), **known)
    sizes = [(2**n, 2**n) for n in range(3, 12)]
    if data.shape != (2,) and not (len(data.shape) == 3 and data.shape[0] <= 4 and data.shape[1:] in sizes):
        raise RunError(
            f"the data have the shape {data.shape}: it must be (2,), or (C, size, size) with at most 4 channels and "
            "size a power of two, 8 or more: pad or resize images"
        )
    return data


def fixed_sample(data, n: int) -> Tensor:
    """n samples, the same at every call; the random numbers of the training go on as if nothing had been drawn."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(4_000_000_007)
        return data.sample(n)
