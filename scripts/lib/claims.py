"""The claims that results/ can test, each written down with the verdict it expects, and the margins of "equivalent".

A claim is about two rows of suites and one outcome. Claims of one kind about the first outcome, success, are a family,
and those about the others are another: within a family p is corrected for their number (Benjamini & Hochberg 1995).
`registered` is the commit in which a claim was first written as it stands, or "after": it was restated after its runs,
and so is no prediction.
"""

from dataclasses import dataclass

if __name__ == "__main__":
    raise SystemExit("this is a library; the command that judges the claims is: python scripts/report.py")

from scripts.lib.headers import ALGOS
from scripts.lib.suites import EXACT, pair_label, parts_label

NEW = "180b336"  # in place of a commit: the claims of this revision; the next one puts its hash here, before their runs
STACKED = "dc3e1e0"  # of stacked digits
PUBLISHED = "7981b61"  # of DRAGAN as published, beside nsgan.py with the same learning rate and beta1
MOMENTUM = "22f882a"  # of stacked digits, on beta1 and gamma
NEARER = "342774b"  # those about w1 of zero-centred: the commit that wrote them down
BFLOAT16 = "e8250d4"  # of bfloat16
SMALL = "ca85bf8"  # of small-d and dual-d-digits
LOWER = ("w1", "fid", "reverse_kl")  # the less of these, the better
MARGINS = {"success": 0.25, "high_quality": 0.05, "w1": 0.1, "reverse_kl": 0.1, "fid": 0.5, "is": 0.2}
MODES_MARGIN = {"ring": 1, "grid": 2, "stacked_mnist": 50, "stacked_digits": 50}
KINDS = {
    "direct": "Claims of papers, with their networks and settings",
    "conceptual": "Claims of papers and lecture notes, with the networks and settings of this project",
    "own": "Hypotheses of this project",
}


@dataclass(frozen=True)
class Claim:
    """That, in `column`, the row `ours` of a suite is better than the row `other`, or worse, or equivalent."""

    kind: str
    text: str
    source: str
    suite: str
    dataset: str
    column: str
    ours: str
    other: str
    expected: str = "better"
    registered: str = NEW
    other_suite: str = ""
    """the suite of `other`, where it is another"""

    @property
    def margin(self) -> float:
        """The least difference that matters, in the units of the column."""
        return MODES_MARGIN[self.dataset] if self.column in ("modes", "sure_modes") else MARGINS[self.column]

    @property
    def family(self) -> tuple[str, bool]:
        return self.kind, self.column == "success"


NOTES = "lecture notes on GAN pathologies"  # they summarise Weng 2019, arXiv 1904.08994, and Salimans et al. 2016
PACGAN = "PacGAN (Lin et al. 2018), table"
DUAL_D = "Zhang, Li & Yu 2018"
R3GAN = "R3GAN (Huang et al. 2024), section 2"
DRAGAN = "README of DRAGAN's code"
WGAN = "Arjovsky et al. 2017"
SETS = {"ring": "the ring", "grid": "the grid"}
ALL, NONE = parts_label(("pairing", "R1", "R2")), parts_label(())
PAIRING, R1, R2, PAIRING_R1 = (parts_label(parts) for parts in (("pairing",), ("R1",), ("R2",), ("pairing", "R1")))
OLD_NONE, OLD_R1 = parts_label((), "0.5"), parts_label(("R1",), "0.5")
OLD_ALL = parts_label(("pairing", "R1", "R2"), "0.5")

DIRECT = [
    ("Packing two samples keeps modes of the ring, with PacGAN's networks and settings.", f"{PACGAN} 1: 7.9 and 6.3",
     "pacgan", "ring", "modes", "m = 2", "GAN (m = 1)", "better", "2165d95"),
    ("Packing two samples keeps modes of the grid, with PacGAN's networks and settings.", f"{PACGAN} 1: 23.8 and 17.3",
     "pacgan", "grid", "modes", "m = 2", "GAN (m = 1)", "better", "98e563b"),
    ("Four samples in a pack keep more modes of the grid than two, with PacGAN's networks and settings.",
     f"{PACGAN} 1: 24.8 and 23.8", "pacgan", "grid", "modes", "m = 4", "m = 2", "better", "98e563b"),
    ("Packing spreads the sharp samples more evenly over the modes of the ring.", f"{PACGAN} 1: 0.07 and 0.45",
     "pacgan", "ring", "reverse_kl", "m = 2", "GAN (m = 1)", "better", "98e563b"),
    ("Packing spreads the sharp samples more evenly over the modes of the grid.", f"{PACGAN} 1: 0.13 and 0.70",
     "pacgan", "grid", "reverse_kl", "m = 2", "GAN (m = 1)", "better", "98e563b"),
    ("Looking five updates of a small D ahead keeps modes of stacked MNIST.", "Metz et al. 2017, table 1: 236 and 31",
     "unrolled-stacked", "stacked_mnist", "modes", "D = 1/4, K = 5", "D = 1/4, K = 0", "better", "2165d95"),
]  # fmt: skip
CONCEPTUAL = [
    *((f"A GAN with the usual, non-saturating loss does not always learn {SETS[data]}.", f"{PACGAN} 1, GAN",
       "quick", data, "success", "nsgan", EXACT, "worse", "after") for data in SETS),
    *((f"In packs of two samples {SETS[data]} is learned more often than one by one.", f"{PACGAN} 1", "packing", data,
       "success", "m = 2", "m = 1", "better", "after") for data in SETS),
    ("In packs of four samples the grid is learned more often than in packs of two.", f"{PACGAN} 1", "packing", "grid",
     "success", "m = 4", "m = 2", "better", "after"),
    ("Packing two samples keeps modes of stacked MNIST.", f"{PACGAN} 2: 1000 and 79", "pacgan-stacked",
     "stacked_mnist", "modes", "m = 2", "DCGAN (m = 1)", "better", "2165d95"),
    *((f"With noise on the discriminator's inputs {SETS[data]} is learned more often.",
       f"{NOTES}; Arjovsky & Bottou 2017", "stabilisers", data, "success", "with noise", "nsgan", "better", "after")
      for data in SETS),
    *((f"With a penalty on the discriminator's weights {SETS[data]} is learned more often.", NOTES, "stabilisers", data,
       "success", "with weight penalty", "nsgan", "better", "after") for data in SETS),
    ("Looking five updates of D ahead, the ring is learned more often than without.",
     "Metz et al. 2017; lecture notes on GANs, section 4.1", "unrolled-k", "ring", "success", "K = 5", "K = 0",
     "better", "after"),
    ("Looking ten updates of D ahead, the ring is learned more often than with one.",
     "Metz et al. 2017, of stacked MNIST", "unrolled-k", "ring", "success", "K = 10", "K = 1", "better", "after"),
    ("DRAGAN with a small c gives sharper samples than with a large one.", DRAGAN, "dragan-c", "ring", "high_quality",
     "c = 0.0001", "c = 1", "better", "2165d95"),
    ("DRAGAN with a large c learns the ring more often than with a small one.", DRAGAN, "dragan-c", "ring", "success",
     "c = 1", "c = 0.0001", "better", "after"),
    ("DRAGAN with the published lambda 10, k 1 and c 10 learns the ring more often than nsgan.py.",
     "Kodali et al. 2017, algorithm 1", "dragan-c", "ring", "success", "as published (lambda 10, c 10)",
     "nsgan, lr 0.002, beta1 0.5", "better", PUBLISHED, "baselines"),
    ("Dual-D SELU with minibatch discrimination learns the ring more often than without.", f"{DUAL_D}, section 1",
     "dual-d-ring", "ring", "success", "dual_d_selu", "without minibatch discrimination", "better", "after"),
    *((f"Of digits Dual-D SELU has a better Inception Score than {what}.", f"{DUAL_D}, table {number}",
       "dual-d-digits", "digits", "is", "the paper's", label or what, "better", SMALL)
      for what, label, number in [
          ("without minibatch discrimination", "", 2),
          ("without SELU", "", 2),
          ("with minibatch discrimination in both", "both with minibatch discrimination", 2),
          ("with SELU in both", "both with SELU", 2),
          ("without residual blocks", "", 2),
          ("with the hinge loss", "hinge loss", 3),
          ("with a gradient penalty", "gradient penalty", 3),
          ("with the hinge loss and a gradient penalty", "hinge loss, gradient penalty", 3),
      ]),
    *((f"Against a small D, stacked digits keep more modes {what}.", source, "small-d", "stacked_digits", "modes",
       ours, other, "better", SMALL)
      for what, source, ours, other in [
          ("when G looks five updates ahead than none", "Metz et al. 2017, table 1: 236 and 31", "K = 5", "K = 0"),
          ("when G looks ten updates ahead than one", "Metz et al. 2017, table 1: 327 and 65", "K = 10", "K = 1"),
          ("in packs of two samples than one by one", f"{PACGAN} 3: 484 and 79", "m = 2", "m = 1"),
          ("in packs of four samples than of two", f"{PACGAN} 3: 667 and 484", "m = 4", "m = 2"),
          ("in packs of four than when G looks ten updates ahead", f"{PACGAN} 3: 667 and 327", "m = 4", "K = 10"),
      ]),
    *((f"WGAN-GP needs no balance of D and G: with {n} updates of D it learns the ring as often as with five.",
       f"{WGAN}; lecture notes on GANs, section 5.3", "wgan-claims", "ring", "success", f"d_steps = {n}", "d_steps = 5",
       "equivalent") for n in (1, 2, 10)),
    ("The better D of WGAN-GP is trained, the better G learns: nearer to the data with ten updates of D than with one.",
     WGAN, "wgan-claims", "ring", "w1", "d_steps = 10", "d_steps = 1"),
    *((f"WGAN-GP does not depend on the architecture: with {name} it learns the ring as often.",
       f"{WGAN}; Gulrajani et al. 2017", "networks", "ring", "success", f"wgan_gp, {name}", "wgan_gp, as it is",
       "equivalent") for name in ("leaky ReLU", "tanh", "He", "orthogonal")),
    *((f"Pairing, R1 and R2 learn {SETS[data]} more often than a GAN with R1.", R3GAN, "zero-centred", data, "success",
       ALL, R1) for data in SETS),
    *((f"Pairing and R1 without R2 learn {SETS[data]} less often than with it.", R3GAN, "zero-centred", data, "success",
       PAIRING_R1, ALL, "worse") for data in SETS),
    ("Pairing, R1 and R2 find more modes of stacked digits than a GAN with R1.", f"{R3GAN}, figure 2", "zero-centred",
     "stacked_digits", "modes", ALL, R1, "better", STACKED),
    ("Pairing and R1 without R2 find fewer modes of stacked digits than with it.", f"{R3GAN}, figure 2", "zero-centred",
     "stacked_digits", "modes", PAIRING_R1, ALL, "worse", STACKED),
]  # fmt: skip
OWN = [
    ("Looking five updates of D ahead gives sharper samples of the ring than not looking ahead.", "", "unrolled-k",
     "ring", "high_quality", "K = 5", "K = 0", "better", "after"),
    ("Tanh instead of ReLU, in both networks, keeps modes that nsgan loses.", "", "networks", "ring", "modes",
     "nsgan, tanh", "nsgan, as it is", "better", "after"),
    ("With PyTorch's initialisation the minimax GAN keeps more modes than nsgan.", "", "networks", "ring", "modes",
     "gan, as it is", "nsgan, as it is", "better", "after"),
    ("With He et al.'s initialisation the minimax GAN keeps fewer modes than nsgan.", "", "networks", "ring", "modes",
     "gan, He", "nsgan, He", "worse", "after"),
    *((f"A learning rate that falls to zero sharpens the samples of {name}.", "", "networks", "ring", "high_quality",
       f"{algo}, as it is", f"{algo}, constant rate", "better", "after")
      for name, algo in [("nsgan", "nsgan"), ("PacGAN", "pacgan"), ("unrolled GAN", "unrolled")]),
    *((text.format(SETS[data]), "", "zero-centred", data, column, ours, other, expected, registered)
      for column, registered, those in [
          ("success", NEW, [
              ("R1 alone learns {} more often than no penalty.", R1, NONE, "better"),
              ("Pairing alone learns {} as often as neither pairing nor penalty.", PAIRING, NONE, "equivalent"),
              ("R2 alone learns {} as often as R1 alone.", R2, R1, "equivalent"),
              ("With R1, beta1 0.5 learns {} as often as beta1 0.", OLD_R1, R1, "equivalent"),
              ("Without pairing and penalty, beta1 0.5 learns {} less often than beta1 0.", OLD_NONE, NONE, "worse"),
              ("R1 with gamma 10 learns {} as often as with gamma 1.", "r1.py, gamma 10", "r1.py, gamma 1",
               "equivalent"),
          ]),
          ("w1", NEARER, [
              ("R1 alone comes nearer to {} than no penalty.", R1, NONE, "better"),
              ("Pairing alone comes as near to {} as neither pairing nor penalty.", PAIRING, NONE, "equivalent"),
              ("Pairing, R1 and R2 come as near to {} as R1 alone.", ALL, R1, "equivalent"),
              ("Pairing and R1 without R2 come as near to {} as with it.", PAIRING_R1, ALL, "equivalent"),
              ("R2 alone comes as near to {} as R1 alone.", R2, R1, "equivalent"),
          ]),
      ]
      for data in SETS
      for text, ours, other, expected in those),
    *((text, "", "zero-centred", "stacked_digits", "sure_modes", ours, other, expected, STACKED)
      for text, ours, other, expected in [
          ("R1 alone finds more modes of stacked digits for sure than no penalty.", R1, NONE, "better"),
          ("Pairing alone finds as many modes of stacked digits for sure as neither pairing nor penalty.", PAIRING,
           NONE, "equivalent"),
          ("R2 alone finds as many modes of stacked digits for sure as R1 alone.", R2, R1, "equivalent"),
          ("Pairing, R1 and R2 find as many modes of stacked digits for sure as R1 alone.", ALL, R1, "equivalent"),
      ]),
    *((text, "", "zero-centred", "stacked_digits", "sure_modes", ours, other, expected, MOMENTUM)
      for text, ours, other, expected in [
          ("With R1, beta1 0.5 finds as many modes of stacked digits for sure as beta1 0.", OLD_R1, R1, "equivalent"),
          ("Without pairing and penalty, beta1 0.5 finds fewer modes of stacked digits for sure than beta1 0.",
           OLD_NONE, NONE, "worse"),
          ("With pairing, R1 and R2, beta1 0.5 finds fewer modes of stacked digits for sure than beta1 0.", OLD_ALL,
           ALL, "worse"),
          ("R1 with gamma 10 finds fewer modes of stacked digits for sure than with gamma 1.", "r1.py, gamma 10", R1,
           "worse"),
          ("R1 with gamma 0.01 finds as many modes of stacked digits for sure as with gamma 1.", "r1.py, gamma 0.01",
           R1, "equivalent"),
      ]),
    *((f"As many modes of stacked digits for sure as nsgan.py has {algo}.py, which succeeds on digits.", "",
       "stacked-digits", "stacked_digits", "sure_modes", algo, "nsgan", "equivalent", STACKED)
      for algo in ("gan", "mlegan", "d2gan", "dragan", "wgan", "wgan_gp", "pacgan", "r1", "sngan", "r3gan")),
    *((f"Fewer modes of stacked digits for sure than nsgan.py has {algo}.py, which fails on digits.", "",
       "stacked-digits", "stacked_digits", "sure_modes", algo, "nsgan", "worse", STACKED)
      for algo in ("feature_matching", "minibatch_discrimination", "began", "cramer", "unrolled", "dual_d_selu",
                   "diffusion_gan")),
    *((f"In bfloat16 the digits are as near as in float32, with {algo}.py.", "", "bfloat16", "digits", "fid",
       f"{algo}, bfloat16", f"{algo}, float32", "equivalent", BFLOAT16) for algo in ("nsgan", "r1", "wgan_gp")),
    ("R1 with gamma 0.01 learns the ring as often as with gamma 1.", "", "zero-centred", "ring", "success",
     "r1.py, gamma 0.01", "r1.py, gamma 1", "equivalent"),
    ("R1 with gamma 0.01 learns the grid less often than with gamma 1.", "", "zero-centred", "grid", "success",
     "r1.py, gamma 0.01", "r1.py, gamma 1", "worse"),
]  # fmt: skip
CLAIMS = [
    Claim(kind, *claim)
    for kind, claims in [("direct", DIRECT), ("conceptual", CONCEPTUAL), ("own", OWN)]
    for claim in claims
]

# every file against three baselines, on success and on a distance ----------------------------------------------------

BASELINES = {"nsgan": "`nsgan.py`", "gan": "`gan.py`", "own rate": "`nsgan.py` with the file's learning rate and beta1"}
BESIDE = {  # data: suite of the files, their distance, suite of the third baseline
    "ring": ("quick", "w1", "baselines"),
    "grid": ("quick", "w1", "baselines"),
    "digits": ("images", "fid", "baselines-digits"),
}
COMPARED = [
    Claim(baseline, "", "", ours, data, column, algo, other, "better", NEW, suite)
    for algo in ALGOS
    for data, (ours, distance, own_rate) in BESIDE.items()
    for column in ("success", distance)
    for baseline, other, suite in [
        ("nsgan", "nsgan", ""),
        ("gan", "gan", ""),
        ("own rate", pair_label(algo, data), own_rate),
    ]
    if algo != other
]
