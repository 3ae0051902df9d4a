"""Image quality and mode counting from checkpoints, by the field's standard numbers.

    python scripts/evaluate.py runs/nsgan-mnist-s1 runs/wgan_gp-mnist-s1 --data-root data
    python scripts/evaluate.py runs/nsgan-mnist-s1 --features classifier --n 10000 --controls   # without a network

FID, KID, Inception Score, precision and recall are torch-fidelity's, on the features of Inception v3 or of a small
classifier that is trained here on the same data set, in minutes, which also counts classes and modes. (Papers mostly
have precision and recall on the features of VGG16.) Prints one table, and writes RUN/evaluation.json, where there are
also the deviations of KID and IS. What is in ~/.cache/cleangan and still valid is not made again; the features by
Inception take 600 MB there for 50,000 real images.
"""

import json
import math
import sys
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.args import RunError, check
from common.data import load_data
from common.folder import cache_folder
from scripts.lib import image_metrics as metrics
from scripts.lib import trained
from scripts.lib.command import command
from scripts.lib.tables import table
from scripts.lib.trained import Trained, fingerprint


@dataclass
class Args:
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")]
    """folders of runs on one data set of images"""
    features: Literal["inception", "classifier"] = "inception"
    """features by Inception v3, for the FID, KID and IS of papers, or by a classifier that is trained here"""
    weights: str = ""
    """file of Inception's weights, in torch-fidelity's format; default: downloaded by torch-fidelity"""
    n: int = 50_000
    """number of generated images; of real ones as many are taken, or all if there are fewer"""
    controls: bool = False
    """add two rows to compare with: other real images, and ten real images repeated, a collapsed generator"""
    data_root: str = ""
    """folder of the data sets; default: the one that the runs were trained with"""
    seed: int = 1
    """seed of the latents and of the choice of real images"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    batch_size: int = 100
    """images at a time through the network that computes the features"""


def show(args: Args, rows: dict[str, dict], real: int, what: str, accuracy: float | None) -> None:
    """Prints what the numbers are of, and a table of them: a row for each run, and for each control."""
    subset, pairs = min(1000, args.n, real), min(metrics.PAIRS, args.n, real)
    print(
        f"{what}\n{real:,} real and {args.n:,} generated images; IS: 10 splits; KID: 100 subsets of {subset:,}; ",
        end="",
    )
    print(f"precision and recall: 3 neighbours; distance, duplicates, support: {pairs:,} images")
    if accuracy is not None:
        print(f"the classifier is right on {accuracy:.2%} of the test images")
    first = [*rows.values()][0]
    if "modes" in first:
        mean, sd = metrics.exact_sampler()
        print(
            f"modes and reverse_kl are of {metrics.STACKED:,} images. As many draws of 1,000 equal modes have a "
            f"reverse_kl of {mean:.4f} +- {sd:.4f}; those of real digits, which are not equally frequent, a little "
            "more (--controls)"
        )
    columns = ["fid", "kid", "is", "precision", "recall", "distance", "duplicates", "support"]
    columns += [name for name in ("modes", "sure_modes", "reverse_kl", "missing", "unsure") if name in first]
    cells = [[name, *("-" if row[c] is None else row[c] for c in columns)] for name, row in rows.items()]
    print("", *table(["", *columns], cells), sep="\n")
    shares = [[name, *map(float, row["classes"])] for name, row in rows.items() if len(row.get("classes", [])) == 10]
    if shares:
        print(*table(["share of each class", *map(str, range(10))], shares), sep="\n")


def main(args: Args) -> None:
    check(args)
    if args.n < 20:
        raise RunError(f"--n {args.n}: must be 20 or more")
    if not args.runs:
        raise RunError("which runs? give their folders")
    device = metrics.exact_device(args.device)
    runs = [Trained(folder, device) for folder in args.runs]
    sets = {(run.dataset, run.shape, args.data_root or run.config["args"]["data_root"]) for run in runs}
    if len(sets) > 1 or len(runs[0].shape) == 1 or runs[0].dataset == "own":
        raise RunError(f"runs on one named data set of images, please; these are on {sorted(map(str, sets))}")
    ((dataset, shape, root),) = sets
    stacked, labelled = dataset.startswith("stacked_"), dataset in metrics.LABELLED
    labelled &= dataset != "folder" or args.features == "classifier"
    if args.features == "classifier" and not labelled:
        raise RunError(f"--features classifier needs labels, which {dataset} has none of; there are {metrics.LABELLED}")
    weights = metrics.inception_weights(args.weights) if args.features == "inception" else ""
    data = load_data(dataset, root, shape[-1])
    real, others = metrics.real_images(data, args.n, args.seed)
    if len(real) < 20 or data.shape != shape:
        raise RunError(f"{root} has {len(data.images)} images {data.shape}; the runs have {shape}, 20 are needed")
    single = dataset.removeprefix("stacked_")  # one channel of a stack
    net, accuracy, net_key = metrics.train_classifier(single, root, shape[-1], device) if labelled else (None, None, "")
    code = [__file__, metrics.__file__, trained.__file__]
    settings = {"features": args.features, "weights": weights, "classifier": net_key, "n": args.n, "seed": args.seed}
    settings |= {"reference": fingerprint(real.numpy().tobytes()), "device": device.type, "torch": torch.__version__}
    settings |= {"torch_fidelity": version("torch-fidelity"), "code": fingerprint(*(Path(f).read_text() for f in code))}
    name = fingerprint(json.dumps(settings))  # of the real images' features

    @cache
    def extractor() -> str:
        if args.features == "inception":
            return metrics.INCEPTION
        metrics.register(f"classifier-{name}", net, real, stacked, device)
        return f"classifier-{name}"

    def measure(images: Tensor) -> dict:
        numbers = metrics.fidelity(images[: args.n], real, name, extractor(), device, args.weights, args.batch_size)
        pairs = min(metrics.PAIRS, len(images), len(real))
        numbers |= metrics.pair_statistics(images[:pairs].to(device), real[:pairs].to(device))
        if stacked:
            digits = metrics.predict(net, images[: metrics.STACKED].flatten(0, 1)[:, None], device).view(-1, 3, 10)
            return numbers | metrics.stacked_statistics(digits)
        return numbers | (metrics.class_statistics(metrics.predict(net, images, device)) if labelled else {})

    rows, count = {}, max(args.n, metrics.STACKED) if stacked else args.n
    for folder, run in zip(args.runs, runs, strict=True):
        this = {"checkpoint": run.fingerprint, "file": fingerprint(Path(run.module.__file__).read_text())}
        compute = partial(lambda run: measure(run.sample(run.latents(count, args.seed), True)), run)
        rows[str(Path(folder))] = metrics.remembered(Path(folder) / "evaluation.json", settings | this, compute)
    if args.controls:
        if len(others) < 1000 and labelled and dataset != "digits":  # of which all are the reference
            others = metrics.labelled_images(dataset, root, shape[-1], train=False)[0][: args.n]
        if len(others) < 20:
            raise RunError(f"--controls: all {len(real)} images are the reference; with a smaller --n some are left")
        ten = others[:10].repeat(math.ceil(count / 10), 1, 1, 1)[:count]
        for control, images in {"other real images": others, "ten images, repeated": ten}.items():
            kept, this = cache_folder() / f"controls-{dataset}.json", {"control": control, "images": len(images)}
            rows[f"{control} ({len(images):,})"] = metrics.remembered(kept, settings | this, partial(measure, images))
    if args.features == "inception":
        what = (
            f"Inception v3, weights {weights}; images brought to 299x299 by TensorFlow 1's bilinear, grey ones as RGB"
        )
    else:
        what = (
            f"features of a classifier of {single}, standardised: NOT Inception numbers, compare them with each other"
        )
    show(args, rows, len(real), what, accuracy)
    print("kept in", ", ".join(str(Path(folder) / "evaluation.json") for folder in args.runs))


if __name__ == "__main__":
    command(main, Args, __doc__)
