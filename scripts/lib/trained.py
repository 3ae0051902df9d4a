"""The trained generator of a run, given back in one call.

    run = Trained("runs/nsgan-ring-s1")  # raises RunError if there is no checkpoint that can be read
    points = run.sample(1000)            # [1000, 2]; of images [1000, C, H, W], uint8

run.G is the generator itself, an nn.Module in eval mode, and run.latents(n, seed) is the noise that it takes.
"""

import hashlib
import importlib
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

if __name__ == "__main__":
    raise SystemExit("this is a library; the command is: python scripts/sample.py RUN")

from common.args import RunError
from common.device import pick_device
from common.draw import as_bytes
from common.run import read_checkpoint, read_json


def fingerprint(*parts: bytes | str) -> str:
    """16 hexadecimal digits that differ where the parts, put one after another, differ."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:16]


class Trained:
    """The generator of a run's last checkpoint. Raises RunError if there is none that can be read.

    folder: the run's, with config.json and checkpoint.pt. device: a name such as "cuda:1", or "auto", a GPU if there
    is one. module: the one with the Generator; by default it is algos.<name of the file that made the run>.
    """

    def __init__(self, folder: str | Path, device: str | torch.device = "auto", module=None):
        self.device = pick_device(str(device))
        self.config = read_json(Path(folder) / "config.json")
        try:
            content = (Path(folder) / "checkpoint.pt").read_bytes()
            saved = read_checkpoint(content, self.device)
            args, weights = self.config["args"], saved["state"]["G"]
            self.algo, self.step = saved["algo"], saved["step"]
            self.dataset = self.config.get("data", args["dataset"])  # "own" after train(args, data)
            self.shape = tuple(self.config["shape"])
            self.z_dim = args["z_dim"]
            self.module = module or importlib.import_module(f"algos.{self.algo}")
            self.G = self.module.Generator(self.z_dim, self.shape, args["width"]).to(self.device)
            self.G.load_state_dict(weights)
        except Exception as error:  # a damaged or foreign file makes torch raise nearly anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunError(f"{folder} is not a run whose checkpoint can be read: {reason}") from None
        self.G.eval()
        self.fingerprint = fingerprint(content)

    def latents(self, n: int, seed: int = 1) -> Tensor:
        """n latents [n, z_dim], the same on every device."""
        return torch.randn(n, self.z_dim, generator=torch.Generator().manual_seed(seed)).to(self.device)

    @torch.no_grad()
    def sample(self, z: int | Tensor, progress: bool = False) -> Tensor:
        """Samples [n, *shape] of latents z [n, z_dim], or of n new ones; on the CPU, images as uint8."""
        z = self.latents(z) if isinstance(z, int) else z.to(self.device)
        parts = tqdm(z.split(250), f"{self.algo}, step {self.step}", disable=None if progress else True)
        samples = torch.cat([self.G(part) if len(self.shape) == 1 else as_bytes(self.G(part)) for part in parts])
        return samples.cpu()
