"""What images are measured by: a classifier, pairs of images, modes of stacked digits, and torch-fidelity's numbers.

scripts/evaluate.py prints these numbers of single runs, scripts/benchmark.py those of whole suites.
"""

import contextlib
import inspect
import json
import math
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

if __name__ == "__main__":
    raise SystemExit("this is a library; the command is: python scripts/evaluate.py RUN")

from common import data as data_sets
from common.args import RunError
from common.device import pick_device
from common.folder import cache_folder, folder_images
from common.run import read_json
from scripts.lib.trained import fingerprint

LABELLED = ("digits", "stacked_digits", "mnist", "fashion_mnist", "stacked_mnist", "cifar10", "cifar100", "folder")
STACKED = 26_000  # samples for the modes of stacked MNIST, as in PacGAN's code (Lin et al. 2018, arXiv 1712.04086)
EPOCHS, STEPS = 8, 1500  # of the classifier, whichever is more
INCEPTION = "inception-v3-compat"  # torch-fidelity's name for it
PAIRS = 2000  # images that are compared with each other pair by pair


def write(path: Path, save: Callable[[Path], None]) -> None:
    """Has `save` write the file, whole or not at all. If that fails it only says so: the numbers are still printed."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # PyTorch has its own for a full disk
        print(f"{path} cannot be kept: {error}", file=sys.stderr)


# the classifier -----------------------------------------------------------------------------------------------------


class Classifier(nn.Module):
    """Images [B, C, S, S], uint8, to logits [B, K]; `features` are the 128 numbers before the last layer."""

    def __init__(self, channels: int, size: int, classes: int, width: int = 32):
        super().__init__()
        w, layers = width, [nn.Conv2d(channels, width, 5, 2, 2), nn.BatchNorm2d(width), nn.ReLU()]
        while size > 8:
            layers += [nn.Conv2d(w, 2 * w, 3, 2, 1), nn.BatchNorm2d(2 * w), nn.ReLU()]
            w, size = 2 * w, size // 2
        layers += [nn.Flatten(), nn.Dropout(0.3), nn.Linear(16 * w, 128), nn.ReLU()]
        self.net, self.last = nn.Sequential(*layers), nn.Linear(128, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.net(x.float() / 127.5 - 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x))


def exact_device(name: str) -> torch.device:
    """The device of that name, where equal inputs give equal numbers from now on, in float32."""
    device = pick_device(name)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    return device


def labelled_images(dataset: str, root: str, size: int, train: bool = True) -> tuple[Tensor, Tensor | None]:
    """common.data.labelled_images; and of a folder of images with a folder for each class: every fifth is for tests."""
    if dataset != "folder":
        return data_sets.labelled_images(dataset, root, size, train)
    folders = sorted(path for path in Path(root).iterdir() if path.is_dir())
    if len(folders) < 2:
        raise RunError(f"{root} has no folder for each class: the classifier needs labels")
    classes = [folder_images(folder, size) for folder in folders]
    images, labels = torch.cat(classes), torch.cat([torch.full((len(x),), i) for i, x in enumerate(classes)])
    part = (torch.arange(len(images)) % 5 > 0) == train
    return images[part], labels[part]


@torch.random.fork_rng()
def train_classifier(dataset: str, root: str, size: int, device: torch.device) -> tuple[Classifier, float, str]:
    """A Classifier of a labelled data set, its accuracy on the test images, and its fingerprint; cached.

    Deterministic on one device and number of threads: AdamW with one cycle of the learning rate, shifts by up to a
    sixteenth of the size (the border is repeated), and left and right swapped where that keeps the class.
    """
    x, y = labelled_images(dataset, root, size)
    recipe = inspect.getsource(Classifier) + inspect.getsource(train_classifier)
    key = fingerprint(
        recipe, f"{dataset} {size} {EPOCHS} {STEPS} {device.type}", x[::97].contiguous().numpy().tobytes()
    )
    torch.manual_seed(0)
    net = Classifier(x.shape[1], size, int(y.max()) + 1).to(device)
    path = cache_folder() / f"classifier-{dataset}-{key}.pt"
    with contextlib.suppress(Exception):  # not there, or damaged: then it is trained again
        saved = torch.load(path, map_location=device, weights_only=True)
        net.load_state_dict(saved["net"])
        return net.eval(), saved["accuracy"], key_of(net)
    swaps = dataset not in ("mnist", "digits")  # a mirrored digit is no digit
    batch, shift = 128, size // 16 or 1
    epochs = max(EPOCHS, STEPS // (len(x) // batch))
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    with tqdm(total=steps, desc=f"a classifier of {dataset}", disable=None) as bar:
        for _ in range(epochs):
            for index in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
                image = F.pad(x[index].float(), (shift,) * 4, mode="replicate")
                top, left = torch.randint(2 * shift + 1, (2,)).tolist()
                image = image[..., top : top + size, left : left + size]
                if swaps and torch.rand(()) < 0.5:
                    image = image.flip(3)
                optimizer.zero_grad()
                F.cross_entropy(net(image.to(device)), y[index].to(device)).backward()
                optimizer.step()
                schedule.step()
                bar.update()
    net.eval()
    x, y = labelled_images(dataset, root, size, train=False)
    right = (predict(net, x, device).argmax(1) == y).double().mean().item()
    write(path, lambda file: torch.save({"net": net.state_dict(), "accuracy": right}, file))
    return net, right, key_of(net)


def key_of(net: Classifier) -> str:
    return fingerprint(*(weight.cpu().numpy().tobytes() for weight in net.state_dict().values()))


def predict(net: Classifier, images: Tensor, device: torch.device) -> Tensor:
    """The class probabilities of images [N, C, S, S], uint8, on the CPU, [N, K]."""
    with torch.no_grad():
        return torch.cat([net(part.to(device)).softmax(1).cpu() for part in images.split(500)])


# numbers ------------------------------------------------------------------------------------------------------------


def pair_statistics(images: Tensor, real: Tensor) -> dict[str, float | None]:
    """What comparing images [N, C, S, S], uint8, pair by pair says of collapse, without any network; both as long.

    distance    mean distance of two images, relative to that of two real ones: 1 is right, 0 is one image
    duplicates  share of images whose nearest other is nearer than that of 99 % of the real ones: 0.01 is right
    support     of how many equally likely images so many near pairs would come (birthday paradox; Arora & Zhang
                2017, arXiv 1706.08224); None if there is no such pair. Compare it with that of real images
    """

    def distances(x: Tensor) -> Tensor:
        x = x.flatten(1).double() / 255
        return torch.cdist(x, x)

    between, ours = distances(real), distances(images)
    n = len(ours)
    off = ~torch.eye(n, dtype=torch.bool, device=ours.device)
    nearest_real = between.masked_fill(~off, math.inf).min(1).values
    near = (ours <= max(torch.quantile(nearest_real, 0.01).item(), 1 / 510)) & off  # at least: half a grey level
    pairs = near.sum().item() / 2
    return {
        "distance": (ours.sum() / between.sum()).item(),
        "duplicates": near.any(1).double().mean().item(),
        "support": n * (n - 1) / 2 / pairs if pairs else None,
    }


def class_statistics(probabilities: Tensor) -> dict[str, float | list]:
    """How classifier outputs [N, K] spread over the classes.

    classes: the share of each; missing: classes with less than a tenth of 1 / K; unsure: share of images of which the
    classifier gives no class 0.9 or more.
    """
    best, label = probabilities.max(1)
    shares = torch.bincount(label, minlength=probabilities.shape[1]).double() / len(label)
    return {
        "missing": (shares < 0.1 / len(shares)).sum().item(),
        "unsure": (best < 0.9).double().mean().item(),
        "classes": [round(share, 5) for share in shares.tolist()],
    }


def stacked_statistics(probabilities: Tensor) -> dict[str, float]:
    """Modes of stacked MNIST, from the digit probabilities [N, 3, 10] of the channels (Metz et al. 2017).

    modes: of the 1,000 triples of digits, those with at least one image; reverse_kl: KL from their histogram to
    uniform, in nats; unsure: share of images with a channel to which the classifier gives no digit 0.9 or more;
    sure_modes: those of the modes with at least one image that is not unsure. A blur has many modes, and few of these.
    """
    best, digit = probabilities.max(2)
    triple, sure = (digit * torch.tensor([100, 10, 1])).sum(1), best.min(1).values >= 0.9
    counts = torch.bincount(triple, minlength=1000)
    return {
        "modes": (counts > 0).sum().item(),
        "sure_modes": len(triple[sure].unique()),
        "reverse_kl": reverse_kl(counts),
        "unsure": (~sure).double().mean().item(),
    }


def reverse_kl(counts: Tensor) -> float:
    """KL from the shares of counts [K] to uniform, in nats; log K if all is one."""
    shares = counts.double() / counts.sum()
    return (torch.xlogy(shares, shares).sum() + math.log(len(counts))).item()


def exact_sampler() -> tuple[float, float]:
    """Mean and standard deviation of reverse_kl for n = STACKED draws from 1,000 equal modes, about 999 / 2 n."""
    random = torch.Generator().manual_seed(0)
    draws = torch.randint(1000, (50, STACKED), generator=random)
    values = torch.tensor([reverse_kl(torch.bincount(draw, minlength=1000)) for draw in draws])
    return values.mean().item(), values.std().item()


# torch-fidelity -----------------------------------------------------------------------------------------------------


class Pixels(Dataset):
    """Images [N, C, S, S], uint8, as torch-fidelity takes them; for Inception greyscale as three equal channels."""

    def __init__(self, images: Tensor, rgb: bool):
        self.images, self.rgb = images, rgb

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return self.images[i].expand(3, -1, -1) if self.rgb else self.images[i]


def register(name: str, net: Classifier, real: Tensor, stacked: bool, device: torch.device) -> None:
    """Makes the classifier known to torch-fidelity: `features`, standardised by those of the real images, and `logits`.

    Raw activations would make KID, the mean of a cubic kernel, meaningless. Of stacked digits the features are those
    of the three channels, and the logits those of all 1,000 triples.
    """
    from torch_fidelity import FeatureExtractorBase, registry

    def features_and_logits(x: Tensor) -> tuple[Tensor, Tensor]:
        features = net.features(x.flatten(0, 1)[:, None] if stacked else x)
        logits = net.last(features).log_softmax(1)
        if stacked:
            a, b, c = logits.view(-1, 3, 10).unbind(1)
            logits = (a[:, :, None, None] + b[:, None, :, None] + c[:, None, None, :]).flatten(1)
            features = features.view(-1, 3 * features.shape[1])
        return features, logits

    with torch.no_grad():
        everything = torch.cat([features_and_logits(x.to(device))[0] for x in real.split(500)])
    mean, sd = everything.mean(0), everything.std(0)
    sd = sd.clamp(min=0.1 * sd.mean())  # a feature that hardly varies must not count most

    class ClassifierFeatures(FeatureExtractorBase):
        def __init__(self, name, features_list, **_):
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list():
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric):
            return "logits" if metric == "isc" else "features"

        def forward(self, x):
            features, logits = features_and_logits(x.to(device))
            return tuple({"features": (features - mean) / sd, "logits": logits}[name] for name in self.features_list)

    registry.FEATURE_EXTRACTORS_REGISTRY[name] = ClassifierFeatures


def inception_weights(path: str) -> str:
    """Which weights of Inception, for the records: the name of those that torch-fidelity downloads, or `path`'s.

    Raises RunError if there are none that fit. A file that is not just tensors is refused: torch-fidelity would
    unpickle it, which can run any code.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

    try:
        if path:
            torch.load(path, map_location="cpu", weights_only=True)
        FeatureExtractorInceptionV3(INCEPTION, ["2048"], path or None, verbose=False)  # downloads them if need be
    except Exception as error:  # no network, half a file, another network's, ...
        reason = (str(getattr(error, "reason", error)).splitlines() or [type(error).__name__])[0]
        if path:
            if isinstance(error, pickle.UnpicklingError):  # torch's words advise to run what is in it
                reason = "it is no file of tensors alone"
            raise RunError(f"--weights {path} cannot be read: {reason}") from None
        raise RunError(
            f"the weights of Inception cannot be downloaded ({reason}). Fetch {URL_INCEPTION_V3} "
            "elsewhere and give its place with --weights FILE, or use --features classifier, which needs no network."
        ) from None
    return fingerprint(Path(path).read_bytes()) if path else Path(URL_INCEPTION_V3).stem


def fidelity(
    images: Tensor,
    real: Tensor,
    real_name: str | None,
    extractor: str,
    device: torch.device,
    weights: str = "",
    batch_size: int = 100,
) -> dict[str, float]:
    """FID, KID, Inception Score, precision and recall of images against real ones, [N, C, S, S] and uint8.

    real_name: under which the features of the real images are cached; None: they are not. extractor: INCEPTION, with
    the file `weights` if it is named, or what was given to `register`. batch_size: images at a time through it.
    """
    import torch_fidelity

    rgb = extractor == INCEPTION
    found = torch_fidelity.calculate_metrics(
        input1=Pixels(images, rgb),
        input2=Pixels(real, rgb),
        fid=True,
        kid=True,
        isc=True,
        prc=True,
        feature_extractor=extractor,
        feature_extractor_weights_path=weights or None,
        kid_subset_size=min(1000, len(images), len(real)),
        batch_size=batch_size,
        cuda=device.type == "cuda",
        save_cpu_ram=True,  # no worker processes: the images are in memory
        cache_root=str(cache_folder() / "features"),
        input2_cache_name=real_name,
        verbose=sys.stderr.isatty(),
    )
    names = {"fid": "frechet_inception_distance", "kid": "kernel_inception_distance_mean"}
    names |= {"kid_sd": "kernel_inception_distance_std", "is": "inception_score_mean", "is_sd": "inception_score_std"}
    names |= {"precision": "precision", "recall": "recall"}
    return {ours: float(found[theirs]) for ours, theirs in names.items()}


# which images, and what is kept of them -------------------------------------------------------------------------------


def real_images(data, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n of the real images as reference, or all there are, and up to as many others, [N, C, S, S], uint8."""
    random = torch.Generator().manual_seed(seed)
    if data.stack > 1:  # random stacks: there are more than anybody needs
        index = torch.randint(len(data.images), ((n + max(n, STACKED)) * data.stack,), generator=random)
        images = data.images.cpu()[index].view(-1, *data.shape)
        return images[:n], images[n:]
    index = torch.randperm(len(data.images), generator=random)
    return data.images.cpu()[index[:n]], data.images.cpu()[index[n : 2 * n]]


def remembered(path: Path, settings: dict, compute: Callable[[], dict]) -> dict:
    """The numbers that the file `path` keeps of these settings, or else compute(), kept there from now on."""

    def entries():
        kept = read_json(path)
        return [e for e in kept if isinstance(e, dict) and {"settings", "numbers"} <= e.keys()] if kept else []

    for entry in entries():
        if entry["settings"] == settings:
            return entry["numbers"]
    this = {"settings": settings, "numbers": compute()}
    write(path, lambda file: file.write_text(json.dumps([*entries(), this], indent=2)))  # others may have written
    return this["numbers"]
