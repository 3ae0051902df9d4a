"""What scripts/benchmark.py runs: suites of rows, each an algorithm with flags, trained on several seeds.

Published numbers, mean +- standard error where there is one: PacGAN's and VEEGAN's as printed in their authors'
repositories, Metz et al.'s as PacGAN's reprints them, dual-D SELU's from its paper.
"""

import itertools
import json
import re
import shlex
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this is a library; the command that runs the suites is: python scripts/benchmark.py")

from common.args import parse
from scripts.lib import search
from scripts.lib.headers import ALGOS, ROOT
from scripts.lib.statistics import LOOKS, MODES_OF_POINTS
from scripts.lib.tables import read_rows
from scripts.lib.trained import fingerprint
from scripts.lib.variants import CHANGES, module_of

FIRST_SEED = 41  # seeds from here on: no setting was chosen on them (the searches had 101 to 105)
GRID = {"dataset": "grid"}
# labels of rows of runs.csv that no run made: of points, and of images
EXACT, NOISE = CONTROLS = ("exact sampler", "uniform noise")
REPEATED = "ten images, repeated"


@dataclass(frozen=True)
class Row:
    """One line of a table: `algo` with `flags`, and a change of scripts/lib/variants.py if it names one."""

    label: str
    algo: str
    flags: dict[str, str] = field(default_factory=dict, hash=False)
    seeds: int = 5
    change: str = ""
    published: str = ""

    @property
    def dataset(self) -> str:
        return self.flags.get("dataset", "ring")

    def command(self, budget: tuple[str, ...] = ()) -> str:
        """The command after `python`, without seed and places; budget: flag=value instead of the row's own."""
        flags = self.flags | dict(flag.split("=", 1) for flag in budget)
        file = f"runs/{self.algo}-{self.change}.py" if self.change else f"algos/{self.algo}.py"
        return " ".join([file, *(f"--{name} {value}".strip() for name, value in flags.items())])

    def slug(self, budget: tuple[str, ...] = ()) -> str:
        """The name of the folder of its runs; another wording of a change is another folder."""
        name = re.sub(r"\W+", "-", self.command(budget)).strip("-")
        return f"{name}-{fingerprint(repr(CHANGES[self.change]))[:6]}" if self.change else name


@dataclass(frozen=True)
class Suite:
    title: str
    """what is compared, in a line"""
    about: str
    """under which protocol: the first lines of the table"""
    rows: list[Row]
    seed: int = FIRST_SEED
    """the first of its seeds"""
    looks: int = 1
    """1 if the number of seeds was fixed before, 2 after a second look, LOOKS if they come in blocks of five until what
    they compare is decided"""


# what a command means -----------------------------------------------------------------------------------------------

PLACES = ("seed", "data_root", "out", "device", "resume", "track", "quiet")


def deciding(args: dict) -> dict:
    """The arguments that decide the numbers, but the seed; an option that is off counts as one that is not there."""
    without = (*PLACES, "amp") if args["dataset"] in MODES_OF_POINTS else PLACES  # bfloat16 is for images
    return {name: value for name, value in args.items() if name not in without and value not in (False, 0, "")}


@cache
def settings(command: str) -> dict:
    """The deciding arguments of a command, as --dataset and its flags make them."""
    return deciding(asdict(parse(module_of(command).Args, words=shlex.split(command)[1:])))


def settings_key(command: str) -> str:
    """A fingerprint of `settings`, by which results are noticed that another default has made stale."""
    return fingerprint(json.dumps(settings(command), sort_keys=True))[:8]


def read(name: str, folder: Path | None = None) -> list[dict]:
    """The rows of a suite's runs.csv; none if there is no such file."""
    path = (folder or ROOT / "results" / name) / "runs.csv"
    return read_rows(path) if path.exists() else []


def budget(suite: Suite, rows: list[dict]) -> dict[str, str]:
    """The flags with which rows of runs.csv were run instead of the suite's own: those of benchmark.py --budget."""
    found = {}
    for row in suite.rows:
        for ran in (this["command"] for this in rows if (this["label"], this["dataset"]) == (row.label, row.dataset)):
            words = [set(re.split(" (?=--)", command)) for command in (ran, row.command())]
            found |= dict((word.removeprefix("--").split(" ") + [""])[:2] for word in sorted(words[0] - words[1]))
    return found


# search -------------------------------------------------------------------------------------------------------------


def search_rows() -> list[Row]:
    """All settings of all files, the first settings first; finalists have more seeds than one."""
    ran, rows = [row for row in read("search") if row["command"]], []
    for dataset in search.RATES:
        final = {row["label"] for algo in ALGOS for row in search.finalists(ran, algo, dataset)}
        for settings_of_all in zip(*map(search.settings_of, ALGOS), strict=True):
            for algo, setting in zip(ALGOS, settings_of_all, strict=True):
                label = ", ".join([algo, *(f"{flag} {value}" for flag, value in setting.items())])
                flags = {"dataset": dataset, "d-steps": "1"} if dataset != "ring" else {"d-steps": "1"}
                flags |= setting | {"steps": str(search.updates(algo, dataset, setting)), "log-every": "1000"}
                seeds = search.FINAL_SEEDS if label in final and dataset in MODES_OF_POINTS else 1
                rows.append(Row(label, algo, flags, seeds))
    return rows + [
        replace(row, label=row.label + search.TWICE, flags=row.flags | {"steps": str(2 * int(row.flags["steps"]))})
        for row in rows
        if row.seeds == search.FINAL_SEEDS and row.label in missed_by(ran, row.algo, row.dataset)
    ]


def missed_by(ran: list[dict], algo: str, dataset: str) -> list[str]:
    """The label of the setting chosen for points, if one of all its seeds missed the goal, else none."""
    best = search.chosen(ran, algo, dataset)
    same = search.labelled(ran, best, best["label"])
    return [best["label"]] if len(same) == search.FINAL_SEEDS and not all(map(search.reached, same)) else []


SEARCH = Suite(
    "the settings of each file",
    "Every file has the same twelve settings and the same seconds.",
    search_rows(),
    search.SEED,
)


def steps_of(algo: str, data: str) -> int:
    """The updates of G in a row of a file's PRESETS."""
    return module_of(f"algos/{algo}.py").PRESETS[data]["steps"]


# Files that had drawn all digits of MNIST, but at a distance above 4, and lsgan.py: twice the seconds of the others.
LONGER_ON_IMAGES = ("cramer", "dfm", "dual_d_selu", "feature_matching", "lsgan", "pacgan", "r3gan", "wgan")


def two_minutes_on_mnist(algo: str) -> str:
    return str(steps_of(algo, "images") // (4 if algo in LONGER_ON_IMAGES else 2))


SEARCH_MNIST = Suite(
    "the learning rate of each file on MNIST",
    "All files on MNIST (32x32) with two learning rates, about two minutes of one core, and else what they have for "
    "images: the best of digits. The rate with the lower FID, on one seed that no other table has, becomes that of "
    "32x32 images in `PRESETS`. Written down before the runs. `lsgan.py` then failed at 2e-3, the better rate here, on "
    "the seed of [the tables](../images/table.md), with twice the updates. So it has three seeds, with twice the "
    "updates too; if one of these fails at 2e-3, as none does at 5e-4 here, it has 5e-4.",
    [
        Row(
            f"{algo}, lr {lr}",
            algo,
            {"dataset": "mnist", "lr": lr, "steps": two_minutes_on_mnist(algo)},
            seeds=3 if algo == "lsgan" else 1,
        )
        for algo in ALGOS
        for lr in ("5e-4", "2e-3")  # at 8e-3 r1.py lost most digits of MNIST, on a seed of the search
    ]
    + [Row("lsgan, lr 2e-3" + search.TWICE, "lsgan", {"dataset": "mnist", "lr": "2e-3", "steps": "5800"}, seeds=3)],
    search.SEED,
)

# quick --------------------------------------------------------------------------------------------------------------

PACGAN_1 = {  # PacGAN, table 1 (Lin et al. 2018): modes, high quality, reverse KL
    ("GAN", "ring"): "PacGAN table 1: 6.3 +- 0.5, 0.982 +- 0.002, 0.45 +- 0.09",
    ("GAN", "grid"): "PacGAN table 1: 17.3 +- 0.8, 0.948 +- 0.007, 0.70 +- 0.07",
    (2, "ring"): "PacGAN table 1: 7.9 +- 0.1, 0.956 +- 0.020, 0.07 +- 0.03",
    (2, "grid"): "PacGAN table 1: 23.8 +- 0.7, 0.913 +- 0.008, 0.13 +- 0.04",
    (3, "ring"): "PacGAN table 1: 7.8 +- 0.1, 0.977 +- 0.003, 0.10 +- 0.02",
    (3, "grid"): "PacGAN table 1: 24.6 +- 0.4, 0.942 +- 0.004, 0.06 +- 0.02",
    (4, "ring"): "PacGAN table 1: 7.8 +- 0.1, 0.959 +- 0.014, 0.07 +- 0.02",
    (4, "grid"): "PacGAN table 1: 24.8 +- 0.2, 0.936 +- 0.006, 0.04 +- 0.01",
}
PUBLISHED = {
    ("nsgan", "ring"): PACGAN_1["GAN", "ring"],
    ("nsgan", "grid"): PACGAN_1["GAN", "grid"],
    ("pacgan", "ring"): PACGAN_1[2, "ring"],
    ("pacgan", "grid"): PACGAN_1[2, "grid"],
    ("unrolled", "ring"): "VEEGAN table 1: 7.6, 0.356",
    ("unrolled", "grid"): "VEEGAN table 1: 23.6, 0.16",
}
SEEDS = {(algo, "ring"): 20 for algo in ALGOS}  # (label, data set): more than ten, in blocks of five
MORE = ("nsgan", "mlegan", "began", "unrolled", "wgan", "pacgan", "r3gan", "nsgan, lr 0.002, beta1 0")
SEEDS |= {(label, "ring"): 25 for label in MORE}
QUICK = Suite(
    "all files on the ring and the grid",
    "All files with their defaults for the ring and for the grid. The networks are the same (three hidden layers of "
    "ReLU, PyTorch's initialisation, 2-D noise; `began.py` and `dual_d_selu.py` have their paper's activations), the "
    "budgets are not: see the seconds. Published numbers come from other networks and far longer runs.",
    [
        Row(algo, algo, flags, SEEDS.get((algo, data), 10), published=PUBLISHED.get((algo, data), ""))
        for data, flags in [("ring", {}), ("grid", GRID)]
        for algo in ALGOS
    ],
    looks=LOOKS,
)


def pair(algo: str, data: str) -> tuple[float, float]:
    """The learning rate and beta1 of a file on a data set; RMSProp, of wgan.py, is Adam without beta1."""
    preset = module_of(f"algos/{algo}.py").PRESETS[data]
    return preset["lr"], preset.get("beta1", 0.0)


def pair_label(algo: str, data: str) -> str:
    return "nsgan, lr {:g}, beta1 {:g}".format(*pair(algo, data))


def baselines(data: str, seeds: int) -> list[Row]:
    flags = {} if data == "ring" else {"dataset": data}
    return [
        Row(label, "nsgan", flags | {"lr": f"{lr:g}", "beta1": f"{beta1:g}"}, SEEDS.get((label, data), seeds))
        for label, (lr, beta1) in {pair_label(algo, data): pair(algo, data) for algo in ALGOS}.items()
    ]


OF_ALL = (
    "`nsgan.py` with each pair of learning rate and beta1 that a file has on the data set, on seeds of its own: what a "
    "remedy is compared with, so that its settings are not taken for its loss."
)
BASELINES = Suite(
    "nsgan.py with the learning rates and beta1 of the other files, on the ring and the grid",
    f"{OF_ALL} All have the updates of `nsgan.py`; six files have twice as many on the grid. Seven files have the "
    "first five seeds, 61 to 65, in `quick`, too.",
    baselines("ring", 20) + baselines("grid", 10),
    seed=61,
    looks=LOOKS,
)
BASELINES_DIGITS = Suite(
    "nsgan.py with the learning rates and beta1 of the other files, on digits",
    f"{OF_ALL} All have the updates of `nsgan.py`.",
    baselines("digits", 10),
    seed=531,
)

LONGER = Suite(
    "twice the updates, on the ring and on digits",
    "The files that missed the goal on one of the search's seeds: as they are, and with twice the updates. In both the "
    "learning rate falls to zero over the run. On digits those that missed it on one of [eight seeds or more]"
    "(../images/table.md), with twice the updates only.",
    [
        Row(algo + end, algo, {"steps": str(times * steps_of(algo, "ring"))})
        for algo in ("nsgan", "mlegan", "minibatch_discrimination", "began", "dfm", "lsgan", "unrolled", "wgan")
        for times, end in ((1, ""), (2, search.TWICE))
    ]
    + [
        Row(algo + search.TWICE, algo, {"dataset": "digits", "steps": str(2 * steps_of(algo, "digits"))}, seeds=3)
        for algo in ("feature_matching", "minibatch_discrimination", "began", "cramer", "dfm", "lsgan", "unrolled")
        + ("dual_d_selu", "pacgan", "diffusion_gan")
    ],
)

# the zero-centred penalties -----------------------------------------------------------------------------------------


def parts_label(parts: tuple[str, ...], beta1: str = "0") -> str:
    """A row of the suite zero-centred: "pairing, R1, beta1 0.5"."""
    return f"{', '.join(parts) or 'nothing'}, beta1 {beta1}"


PARTS = {"pairing": "no-pairing", "R1": "no-r1", "R2": "no-r2"}  # of r3gan.py, and the flag that leaves it out


def without(parts: tuple[str, ...]) -> dict[str, str]:
    """The flags of r3gan.py that leave out all parts but these."""
    return {off: "" for part, off in PARTS.items() if part not in parts}


SUBSETS = [those for n in range(4) for those in itertools.combinations(PARTS, n)]
ON_STACKED = {"dataset": "stacked_digits", "steps": "4000", "lr": "2e-3"}
ZERO_CENTRED = Suite(
    "pairing, R1 and R2, each with and without the others; R1's weight",
    "The ablation of the R3GAN paper (Huang et al. 2024): all eight subsets of pairing, R1 and R2 in `r3gan.py`, each "
    "with beta1 0 and 0.5, and `r1.py` with gamma from 0.01 to 10. Without pairing and R2 `r3gan.py` is `r1.py`, with "
    "none of the three it is `nsgan.py` with another learning rate. All have a learning rate of 2e-3 that falls to "
    "zero, R1 and R2 a gamma of 1; 4,000 updates of G, 6,000 on the grid. The last rows are on stacked digits, 1,000 "
    "modes; there gamma 1 of `r1.py` is the row with R1 alone.",
    [
        Row(label, algo, data | {"lr": "2e-3"} | flags, 15)
        for data in ({"steps": "4000"}, GRID | {"steps": "6000"})
        for label, algo, flags in [
            *(
                (parts_label(parts, beta1), "r3gan", {"gamma": "1", "beta1": beta1} | without(parts))
                for beta1 in ("0", "0.5")
                for parts in SUBSETS
            ),
            *((f"r1.py, gamma {gamma}", "r1", {"gamma": gamma, "beta1": "0"}) for gamma in ("0.01", "0.1", "1", "10")),
        ]
    ]
    + [
        Row(parts_label(parts, beta1), "r3gan", ON_STACKED | {"gamma": "1", "beta1": beta1} | without(parts))
        for beta1 in ("0", "0.5")
        for parts in SUBSETS
    ]
    + [Row(f"r1.py, gamma {g}", "r1", ON_STACKED | {"gamma": g, "beta1": "0"}) for g in ("0.01", "0.1", "10")],
    seed=201,
    looks=2,  # ten seeds on the grid had left much undecided
)

# images -------------------------------------------------------------------------------------------------------------

SEEDS_OF_IMAGES = dict.fromkeys(("nsgan", "r1", "sngan", "diffusion_gan", "r3gan"), 3)  # nearest to MNIST, and nsgan.py

IMAGES = Suite(
    "all files on digits, MNIST and Fashion-MNIST",
    "All files with their defaults for images, for the same seconds of one core: about half a minute on digits (8x8), "
    "about four on MNIST and on Fashion-MNIST (32x32), and eight for eight files (`cramer.py`, `dfm.py`, "
    "`dual_d_selu.py`, `feature_matching.py`, `lsgan.py`, `pacgan.py`, `r3gan.py`, `wgan.py`): all but `lsgan.py` had "
    "drawn every digit of MNIST in four minutes, but at a distance above 4, and it had failed at a higher learning "
    "rate. The networks are the same DCGAN of 32 channels (`began.py` and `dual_d_selu.py` have their paper's). What "
    "differs, beta1 and the file's own weight, is from [the search](../search/table.md) on digits, and so is the "
    "learning rate of 8x8; that of 32x32 is from [two on MNIST](../search-mnist/table.md). Nothing but who has eight "
    "minutes was chosen on the seeds of this table: ten of digits; of MNIST and Fashion-MNIST three for `nsgan.py` "
    "and the files nearest to MNIST, one for the others. FID and KID are of a small classifier's "
    "features, not of Inception's: compare them with each other only.",
    [Row(algo, algo, {"dataset": "digits"}, seeds=10) for algo in ALGOS]
    + [
        Row(algo, algo, {"dataset": data}, seeds=SEEDS_OF_IMAGES.get(algo, 1))
        for data in ("mnist", "fashion_mnist")
        for algo in ALGOS
    ],
)

COLOUR = Suite(
    "four files on the colour images of a folder",
    "The 50,000 training images of CIFAR-10 as JPEGs, in a folder for each class (`--data-root FOLDER`): `nsgan.py` "
    "and the three files nearest to MNIST, at width 64 and a learning rate of 1e-3, in float32, for 1.4 to 2.3 hours "
    "of one busy core; and the best of them, in bfloat16 on a faster core, for four times as many updates. FID and KID "
    "are of a small classifier's features, not of Inception's. The last row, and other real images, were judged by a "
    "classifier that was trained anew on another machine; by the first one other real images have FID 0.34.",
    [
        Row(algo, algo, {"dataset": "folder", "width": "64", "lr": "1e-3", "steps": str(steps)}, seeds=1)
        for algo, steps in {"nsgan": 6000, "r1": 5000, "sngan": 6500, "diffusion_gan": 6000}.items()
    ]
    + [Row("r1, longer", "r1", {"dataset": "folder", "width": "64", "lr": "1e-3", "steps": "20000"}, seeds=1)],
)

STACKED = Suite(
    "all files on stacked digits",
    "The 1,000 modes of VEEGAN, PacGAN and Unrolled GAN at a size that a laptop finishes: three real digits of 8x8, "
    "drawn independently, are the channels of an image. All files with their defaults for digits, for about the same "
    "seconds of one core. A classifier of single digits names the three of each of 26,000 samples.",
    [Row(algo, algo, {"dataset": "stacked_digits"}) for algo in ALGOS],
    seed=601,
)

BFLOAT16 = Suite(
    "bfloat16 and float32, on digits",
    "Inside the networks images have bfloat16 where the processor can, or float32 with `--no-amp`: three files with "
    "their defaults for digits, and the same updates for both.",
    [
        Row(f"{algo}, {name}", algo, {"dataset": "digits"} | flags)
        for algo in ("nsgan", "r1", "wgan_gp")
        for name, flags in (("bfloat16", {}), ("float32", {"no-amp": ""}))
    ],
    seed=401,
)

# what decides besides the loss --------------------------------------------------------------------------------------

NOT_TODAYS = " Learning rate, beta1 and updates are those of an earlier search, not today's defaults."
EARLIER = {  # file: the settings of an earlier search, for the ring and the grid, with which the suites below were run
    "nsgan": {"lr": "1e-3", "beta1": "0.5", "steps": "8000"},
    "gan": {"lr": "1e-3", "beta1": "0.5", "steps": "8000"},
    "pacgan": {"lr": "2e-3", "beta1": "0.5", "steps": "8000"},
    "unrolled": {"lr": "1e-3", "beta1": "0.5", "steps": "3000"},
    "mlegan": {"lr": "3e-4", "beta1": "0.5", "steps": "8000"},
    "dragan": {"lr": "2e-3", "beta1": "0.5", "steps": "8000"},
    "dual_d_selu": {"lr": "2e-3", "beta1": "0.5", "steps": "5000"},
    "wgan_gp": {"lr": "8e-3", "beta1": "0", "steps": "5000"},
    "r1": {"lr": "2e-3", "beta1": "0", "steps": "4000"},  # the ring; for demonstrations
}


def earlier(module) -> dict[str, float]:
    """The arguments of a file of algos/ for these settings: {"lr": 1e-3, "beta1": 0.5, "steps": 8000}."""
    found = EARLIER[module.__name__.rpartition(".")[2]]
    return {name: int(value) if name == "steps" else float(value) for name, value in found.items()}


NETWORKS = Suite(
    "units, initialisation and learning-rate decay",
    "The same files with one thing changed at a time, in G and in D: the units of the hidden layers (leaky ReLU "
    "of slope 0.2, tanh), the initialisation (He et al., orthogonal of gain sqrt 2, both with zero biases), a constant "
    "learning rate. First ReLU, PyTorch's initialisation and a learning rate that falls to zero, as in the files."
    + NOT_TODAYS,
    [
        Row(f"{algo}, {name}", algo, EARLIER[algo] | flags, 15 if algo == "wgan_gp" else 5, change)
        for name, flags, change in [
            ("as it is", {}, ""),
            ("leaky ReLU", {}, "leaky"),
            ("tanh", {}, "tanh"),
            ("He", {}, "he"),
            ("orthogonal", {}, "orthogonal"),
            ("constant rate", {"no-lr-decay": ""}, ""),
        ]
        for algo in ("nsgan", "gan", "pacgan", "unrolled", "wgan_gp")
    ],
)
STABILISERS = Suite(
    "noise on what D sees; a penalty on its weights",
    "The two recipes of `algos/README.md` in `nsgan.py`: noise on what D sees, its standard deviation falling from 0.5 "
    "to zero, and a penalty on D's weights, 0.5e-3 times their squared norm." + NOT_TODAYS,
    [
        Row(name, "nsgan", flags | EARLIER["nsgan"], seeds, change)
        for flags, seeds in [({}, 10), (GRID, 5)]
        for name, change in [("nsgan", ""), ("with noise", "noise"), ("with weight penalty", "weight_decay")]
    ],
)
MLEGAN = Suite(
    "MLE-GAN's learning rate and its bound on the logit",
    "MLE-GAN's bound on the logit, by which exp(logit), the weight of a sample, is kept finite. What a missing mode "
    "costs is finite with it." + NOT_TODAYS,
    [
        Row("lr 3e-4", "mlegan", EARLIER["mlegan"]),
        Row("lr 1e-3", "mlegan", EARLIER["mlegan"] | {"lr": "1e-3"}),
        Row("lr 1e-3, max_logit 0", "mlegan", EARLIER["mlegan"] | {"lr": "1e-3", "max-logit": "0"}),
    ],
)

# one parameter of a paper -------------------------------------------------------------------------------------------

UNROLLED_K = Suite(
    "how far the unrolled generator looks ahead",
    "Unrolled GAN: K, the updates of D that G looks ahead. K = 0 is the minimax loss without a look ahead."
    + NOT_TODAYS,
    [
        Row(f"K = {k}", "unrolled", EARLIER["unrolled"] | ({} if k == 5 else {"unroll-steps": str(k)}))
        for k in (0, 1, 5, 10)
    ],
)
DRAGAN_C = Suite(
    "the noise of DRAGAN's penalty",
    "DRAGAN: c, the variance of the noise around the real samples where D's slope is held at 1. The ring has modes of "
    "standard deviation 0.02, 1.5 apart. Published are lambda 10 and c 10, here with our learning rate." + NOT_TODAYS,
    [
        Row(f"c = {c}", "dragan", EARLIER["dragan"] | ({} if c == "0.01" else {"noise-variance": c}))
        for c in ("0.0001", "0.001", "0.01", "0.1", "1")
    ]
    + [
        Row(
            "as published (lambda 10, c 10)", "dragan", EARLIER["dragan"] | {"lambda": "10", "noise-variance": "10"}, 10
        )
    ],
)
WGAN_CLAIMS = Suite(
    "how often the critic of WGAN-GP is updated",
    "WGAN-GP: updates of D to one of G. The paper of WGAN promises that D may be trained as well as one likes.",
    [Row(f"d_steps = {n}", "wgan_gp", {"d-steps": str(n)}, 15) for n in (1, 2, 5, 10)],
    seed=301,
)
DUAL_D_TABLES = [  # the rows of the paper's tables 2 and 3: flags, change, the Inception Score of CIFAR-10
    ("the paper's", {}, "", "7.65 (best of 5 runs; their mean 7.47)"),
    ("without minibatch discrimination", {"no-minibatch-discrimination": ""}, "", "6.95"),
    ("without SELU", {}, "no_selu", "7.36"),
    ("both with minibatch discrimination", {}, "both_minibatch_discrimination", "7.52"),
    ("both with SELU", {}, "both_selu", "7.06"),
    ("without residual blocks", {}, "no_resblock", "7.32"),
    ("hinge loss", {}, "hinge", "7.41"),
    ("gradient penalty", {}, "gradient_penalty", "6.94"),
    ("hinge loss, gradient penalty", {}, "hinge_gradient_penalty", "6.86"),
]


def dual_d_tables(name: str, settings: str, data: dict[str, str], seed: int) -> Suite:
    """The rows of the paper's tables 2 and 3 on another data set."""
    return Suite(
        f"the ablations of dual-D SELU, on {name}",
        f"Dual-D SELU: the rows of the paper's tables 2 and 3, on {name} instead of CIFAR-10, with our networks (the "
        f"paper's are in a supplement){settings}. The Inception Score is on the outputs of a classifier of {name}, of "
        "10,000 samples: only its order can be compared with the paper's.",
        [
            Row(row, "dual_d_selu", data | flags, change=change, published=f"Zhang et al., IS on CIFAR-10: {score}")
            for row, flags, change, score in DUAL_D_TABLES
        ],
        seed,
    )


ON_MNIST = {"dataset": "mnist", "width": "16", "batch-size": "64", "lr": "1e-3", "steps": "20000", "no-amp": ""}
DUAL_D = dual_d_tables("MNIST", " at width 16", ON_MNIST, 41)
DUAL_D_DIGITS = dual_d_tables("digits", " and the file's defaults", {"dataset": "digits"}, 511)

DUAL_D_RING = Suite(
    "minibatch discrimination of dual-D SELU, on the ring",
    "Dual-D SELU on the ring, with and without minibatch discrimination in D1." + NOT_TODAYS,
    [
        Row("dual_d_selu", "dual_d_selu", EARLIER["dual_d_selu"]),
        Row(
            "without minibatch discrimination",
            "dual_d_selu",
            EARLIER["dual_d_selu"] | {"no-minibatch-discrimination": ""},
        ),
    ],
)

# packing and unrolling, as their papers measured them ---------------------------------------------------------------

PACKING = Suite(
    "packs of 1, 2 and 4 samples",
    "`pacgan.py` with packs of m = 1, 2 and 4 samples, its own networks and defaults; m = 1 is `nsgan.py` with "
    "PacGAN's learning rate. D sees 128 samples per update for every m, so 128 / m packs." + NOT_TODAYS,
    [
        Row(f"m = {m}", "pacgan", flags | EARLIER["pacgan"] | ({} if m == 2 else {"packing": str(m)}), seeds)
        for flags, seeds in [({}, 10), (GRID, 5)]
        for m in (1, 2, 4)
    ],
)
PACGAN_TABLE_1 = Suite(
    "PacGAN's networks and settings, ring and grid",
    "PacGAN's table 1: the networks of its code (G 4 x 400 with batch norm, D 3 x 200 maxout units of 5 pieces, "
    "weights N(0, 0.02^2)), Adam 1e-4 with beta1 0.8, constant, 100 packs per batch, 400,000 updates. Differences: the "
    "ring has twice the size (radius 2, standard deviation 0.02), D and G are updated in turn, real points are "
    "always new (there from a pool of 100,000), the m samples of a pack share a batch of G's batch norm, and the final "
    "samples are drawn with its running statistics.",
    [
        Row(
            f"m = {m}" if m > 1 else "GAN (m = 1)",
            "pacgan",
            ({} if data == "ring" else {"dataset": data})
            | {"packing": str(m), "batch-size": str(100 * m), "lr": "1e-4", "beta1": "0.8", "no-lr-decay": ""}
            | {"steps": "400000", "log-every": "1000"},
            10,
            "pacgan_networks",
            PACGAN_1["GAN" if m == 1 else m, data],
        )
        for data in ("ring", "grid")
        for m in (1, 2, 3, 4)
    ],
)
PACGAN_STACKED = Suite(
    "packing on stacked MNIST",
    "PacGAN's table 2, stacked MNIST: 1,000 modes, counted by a classifier on 26,000 samples. Ours: the files' DCGAN "
    "on 32x32, 64 packs per batch, Adam 2e-4 with beta1 0.5, constant, 100,000 updates of D and of G. The paper's code "
    "has batch norm in D, two updates of G to one of D, uniform noise of 100 dimensions (here 64, normal), images "
    "in [0, 1].",
    [
        Row(
            f"m = {m}" if m > 1 else "DCGAN (m = 1)",
            "pacgan",
            {"dataset": "stacked_mnist", "packing": str(m), "batch-size": str(64 * m), "lr": "2e-4", "no-lr-decay": ""}
            | {"width": "64", "steps": "100000", "log-every": "1000", "no-amp": ""},
            published=f"PacGAN table 2: {score}",
        )
        for m, score in [
            (1, "78.9 +- 6.5, KL 4.50 +- 0.13"),
            (2, "1000.0 +- 0.0, KL 0.06 +- 0.003"),
            (3, "1000.0 +- 0.0, KL 0.06 +- 0.003"),
            (4, "1000.0 +- 0.0, KL 0.07 +- 0.005"),
        ]
    ],
)
UNROLLED_STACKED = Suite(
    "unrolling on stacked MNIST, against a D that is too small",
    "Unrolled GAN's table 1, with the settings of PacGAN's re-implementation: G has 64, 32 and 16 channels, D 2, 4 and "
    "8 (D = 1/4) or 4, 8 and 16 (D = 1/2), noise of 256 dimensions, batch 128, 500,000 updates; modes are counted on "
    "26,000 samples. Differences: no batch norm in D, one learning rate, 2e-4, for both (there 1e-4 for G), beta2 "
    "0.999 (0.99), the files' kernels of 4x4 and slope of 0.2, G's last layer.",
    [
        Row(
            f"{name}, K = {k}",
            "unrolled",
            {"dataset": "stacked_mnist", "unroll-steps": str(k), "width": "16", "z-dim": "256", "lr": "2e-4"}
            | {"batch-size": "128", "no-lr-decay": "", "steps": "500000", "log-every": "1000", "no-amp": ""},
            change=change,
            published=f"Metz et al. table 1: {score}",
        )
        for name, change, scores in [
            (
                "D = 1/4",
                "quarter_d",
                ["30.6 +- 20.7, KL 5.99", "65.4 +- 34.8, 5.91", "236.4 +- 63.3, 4.67", "327.2 +- 74.7, 4.66"],
            ),
            (
                "D = 1/2",
                "half_d",
                ["628.0 +- 140.9, KL 2.58", "523.6 +- 55.8, 2.44", "732.0 +- 45.0, 1.66", "817.4 +- 37.9, 1.43"],
            ),
        ]
        for k, score in zip((0, 1, 5, 10), scores, strict=True)
    ],
)

SMALL_SETTINGS = {"dataset": "stacked_digits", "width": "16", "batch-size": "64", "lr": "1e-3", "beta1": "0.5"}
SMALL_SETTINGS |= {"steps": "4000"}
SMALL_D = Suite(
    "unrolling and packing against a D that is too small, on stacked digits",
    "Unrolled GAN's table 1 and PacGAN's table 3 at a size that a laptop finishes: three digits of 8x8 as channels, "
    "1,000 modes, counted by a classifier on 26,000 samples. G has 32 and 16 channels, D has 2 and 4. "
    "K: the updates of D that `unrolled.py` looks ahead; m: the samples in a pack of `pacgan.py`, 64 packs per batch. "
    "A learning rate of 1e-3 that falls to zero, beta1 0.5 and 4,000 updates for all; the papers have 2e-4, constant, "
    "and 500,000.",
    [
        Row(name, algo, SMALL_SETTINGS | flags, change=change, published=f"on stacked MNIST: {score}")
        for name, algo, change, flags, score in [
            *((f"K = {k}", "unrolled", "quarter_d", {"unroll-steps": str(k)}, score)
              for k, score in {0: "30.6 +- 20.7, KL 5.99", 1: "65.4 +- 34.8, KL 5.91", 5: "236.4 +- 63.3, KL 4.67",
                               10: "327.2 +- 74.7, KL 4.66"}.items()),
            *((f"m = {m}", "pacgan", "quarter_d_of_packs", {"packing": str(m), "batch-size": str(64 * m)}, score)
              for m, score in {1: "78.5 +- 17.6, KL 5.21", 2: "484.5 +- 33.0, KL 2.61", 3: "601.3 +- 32.2, KL 2.00",
                               4: "667.4 +- 29.0, KL 1.81"}.items()),
        ]
    ],
    seed=501,
)  # fmt: skip

SUITES = {
    "search": SEARCH,
    "search-mnist": SEARCH_MNIST,
    "quick": QUICK,
    "images": IMAGES,
    "stacked-digits": STACKED,
    "colour": COLOUR,
    "bfloat16": BFLOAT16,
    "longer": LONGER,
    "baselines": BASELINES,
    "baselines-digits": BASELINES_DIGITS,
    "zero-centred": ZERO_CENTRED,
    "networks": NETWORKS,
    "stabilisers": STABILISERS,
    "packing": PACKING,
    "unrolled-k": UNROLLED_K,
    "dragan-c": DRAGAN_C,
    "wgan-claims": WGAN_CLAIMS,
    "mlegan": MLEGAN,
    "dual-d-ring": DUAL_D_RING,
    "dual-d-digits": DUAL_D_DIGITS,
    "small-d": SMALL_D,
    "dual-d-ablations": DUAL_D,
    "pacgan": PACGAN_TABLE_1,
    "pacgan-stacked": PACGAN_STACKED,
    "unrolled-stacked": UNROLLED_STACKED,
}
