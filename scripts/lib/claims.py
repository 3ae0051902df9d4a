"""The claims of papers and lecture notes that results/ can test: which difference, and what was published of it.

Each claim says that one mean is larger than another. The verdict is read off the 95 % interval of the difference
(scripts/lib/statistics.py): nothing is chosen after the numbers are known.
"""

import sys
from dataclasses import dataclass

if __name__ == "__main__":
    print("this is a library; the command that judges the claims is: python scripts/report.py", file=sys.stderr)
    raise SystemExit(2)


@dataclass(frozen=True)
class Claim:
    """That `column` is larger (sign = 1; smaller: -1) in the row `ours` of a suite than in `other` or than a number."""

    text: str
    source: str
    suite: str
    dataset: str
    column: str
    ours: str
    other: str | float
    sign: int = 1
    published: tuple[float, float] | None = None
    """the difference that was published, in the units of the column, and its standard error"""


NOTES = "lecture notes on GAN pathologies"  # they summarise Weng 2019, arXiv 1904.08994, and Salimans et al. 2016
CLAIMS = [
    # the disease
    Claim(
        "A GAN with the usual, non-saturating loss ends without some modes of the ring.",
        "PacGAN (Lin et al. 2018), table 1, GAN",
        "quick", "ring", "modes", "nsgan", 8.0, -1, (8 - 6.3, 0.5),
    ),
    Claim(
        "A GAN with the usual, non-saturating loss ends without some modes of the grid.",
        "PacGAN, table 1, GAN",
        "quick", "grid", "modes", "nsgan", 25.0, -1, (25 - 17.3, 0.8),
    ),
    Claim(
        "The minimax loss saturates, and G learns less from it (here: ends farther from the data than nsgan).",
        f"Goodfellow et al. 2014, section 3; {NOTES}",
        "quick", "ring", "w1", "gan", "nsgan",
    ),
    # the remedies on the ring and the grid
    Claim(
        "Packing two samples keeps modes of the ring that the same GAN loses.",
        "PacGAN, table 1",
        "packing", "ring", "modes", "m = 2", "m = 1", 1, (7.9 - 6.3, 0.51),
    ),
    Claim(
        "Packing two samples keeps modes of the grid that the same GAN loses.",
        "PacGAN, table 1",
        "packing", "grid", "modes", "m = 2", "m = 1", 1, (23.8 - 17.3, 1.06),
    ),
    Claim(
        "Four samples in a pack keep more modes of the grid than two.",
        "PacGAN, table 1",
        "packing", "grid", "modes", "m = 4", "m = 2", 1, (24.8 - 23.8, 0.73),
    ),
    Claim(
        "The Wasserstein loss, with weight clipping, alleviates mode collapse: on the ring.",
        f"Arjovsky et al. 2017; {NOTES}",
        "quick", "ring", "modes", "wgan", "nsgan",
    ),
    Claim(
        "The Wasserstein loss, with weight clipping, alleviates mode collapse: on the grid.",
        f"Arjovsky et al. 2017; {NOTES}",
        "quick", "grid", "modes", "wgan", "nsgan",
    ),
    Claim(
        "The Wasserstein loss, with the gradient penalty, alleviates mode collapse: on the ring.",
        f"Gulrajani et al. 2017; {NOTES}",
        "quick", "ring", "modes", "wgan_gp", "nsgan",
    ),
    Claim(
        "The Wasserstein loss, with the gradient penalty, alleviates mode collapse: on the grid.",
        f"Gulrajani et al. 2017; {NOTES}",
        "quick", "grid", "modes", "wgan_gp", "nsgan",
    ),
    Claim(
        "DRAGAN's penalty mitigates mode collapse: on the ring.",
        "Kodali et al. 2017",
        "quick", "ring", "modes", "dragan", "nsgan",
    ),
    Claim(
        "DRAGAN's penalty mitigates mode collapse: on the grid.",
        "Kodali et al. 2017",
        "quick", "grid", "modes", "dragan", "nsgan",
    ),
    Claim(
        "LSGAN is more stable than the cross-entropy GAN (here: keeps more modes of the ring).",
        "Mao et al. 2017, abstract",
        "quick", "ring", "modes", "lsgan", "nsgan",
    ),
    Claim(
        "Two discriminators, for both KL divergences, avoid mode collapse: on the ring.",
        "D2GAN (Nguyen et al. 2017), abstract",
        "quick", "ring", "modes", "d2gan", "nsgan",
    ),
    Claim(
        "Two discriminators, for both KL divergences, avoid mode collapse: on the grid.",
        "D2GAN, abstract",
        "quick", "grid", "modes", "d2gan", "nsgan",
    ),
    Claim(
        "Two opposed discriminators, one with minibatch discrimination, avoid mode collapse: on the ring.",
        "Zhang, Li & Yu 2018",
        "quick", "ring", "modes", "dual_d_selu", "nsgan",
    ),
    Claim(
        "Two opposed discriminators, one with minibatch discrimination, avoid mode collapse: on the grid.",
        "Zhang, Li & Yu 2018",
        "quick", "grid", "modes", "dual_d_selu", "nsgan",
    ),
    Claim(
        "A generator that maximises the likelihood, KL(p_data, p_g), does not drop modes (here: fewer than nsgan).",
        "lecture notes on GANs, section 2, with Goodfellow 2014, arXiv 1412.6515",
        "quick", "ring", "modes", "mlegan", "nsgan",
    ),
    Claim(
        "Noise on the discriminator's inputs improves convergence (here: more modes of the ring).",
        f"{NOTES}; Arjovsky & Bottou 2017",
        "stabilisers", "ring", "modes", "with noise", "nsgan",
    ),
    Claim(
        "Noise on the discriminator's inputs improves convergence (here: more modes of the grid).",
        f"{NOTES}; Arjovsky & Bottou 2017",
        "stabilisers", "grid", "modes", "with noise", "nsgan",
    ),
    Claim(
        "A penalty on the discriminator's weights improves convergence (here: more modes of the ring).",
        NOTES,
        "stabilisers", "ring", "modes", "with weight penalty", "nsgan",
    ),
    Claim(
        "A penalty on the discriminator's weights improves convergence (here: more modes of the grid).",
        NOTES,
        "stabilisers", "grid", "modes", "with weight penalty", "nsgan",
    ),
    # one parameter
    Claim(
        "Looking five updates of D ahead keeps more modes of the ring than not looking ahead.",
        "Metz et al. 2017; lecture notes on GANs, section 4.1",
        "unrolled-k", "ring", "modes", "K = 5", "K = 0",
    ),
    Claim(
        "Looking five updates of D ahead gives sharper samples of the ring than not looking ahead.",
        "this project, before these runs",
        "unrolled-k", "ring", "high_quality", "K = 5", "K = 0",
    ),
    Claim(
        "Ten updates ahead keep more modes of the ring than one.",
        "Metz et al. 2017, of stacked MNIST",
        "unrolled-k", "ring", "modes", "K = 10", "K = 1",
    ),
    Claim(
        "DRAGAN with a small c gives sharper samples than with a large one.",
        "README of DRAGAN's code",
        "dragan-c", "ring", "high_quality", "c = 0.0001", "c = 1",
    ),
    Claim(
        "DRAGAN with a large c is more stable than with a small one (here: keeps more modes).",
        "README of DRAGAN's code",
        "dragan-c", "ring", "modes", "c = 1", "c = 0.0001",
    ),
    Claim(
        "In BEGAN a smaller gamma gives less diversity: images differ less at 0.3 than at 0.7.",
        "article on DRAGAN, of a figure of Berthelot et al. 2017",
        "began-gamma", "fashion_mnist", "distance", "gamma = 0.7", "gamma = 0.3",
    ),
    # dual-D SELU's ablations
    Claim(
        "Minibatch discrimination keeps dual-D SELU from dropping modes.",
        "Zhang, Li & Yu 2018, section 1",
        "dual-d-ring", "ring", "modes", "dual_d_selu", "without minibatch discrimination",
    ),
    *(
        Claim(
            f"Dual-D SELU has a better Inception Score than {what}.",
            f"Zhang, Li & Yu 2018, table {number}",
            "dual-d-ablations", "mnist", "is", "the paper's", row,
        )
        for what, number, row in [
            ("without minibatch discrimination", 2, "without minibatch discrimination"),
            ("without SELU", 2, "without SELU"),
            ("with minibatch discrimination in both", 2, "both with minibatch discrimination"),
            ("with SELU in both", 2, "both with SELU"),
            ("without residual blocks", 2, "without residual blocks"),
            ("with the hinge loss", 3, "hinge loss"),
            ("with a gradient penalty", 3, "gradient penalty"),
            ("with the hinge loss and a gradient penalty", 3, "hinge loss, gradient penalty"),
        ]
    ),
    # the papers' own protocols
    Claim(
        "Packing two samples keeps modes of the ring, with PacGAN's networks and settings.",
        "PacGAN, table 1",
        "pacgan", "ring", "modes", "m = 2", "GAN (m = 1)", 1, (7.9 - 6.3, 0.51),
    ),
    Claim(
        "Packing two samples keeps modes of the grid, with PacGAN's networks and settings.",
        "PacGAN, table 1",
        "pacgan", "grid", "modes", "m = 2", "GAN (m = 1)", 1, (23.8 - 17.3, 1.06),
    ),
    Claim(
        "Four samples in a pack keep more modes of the grid than two, with PacGAN's networks and settings.",
        "PacGAN, table 1",
        "pacgan", "grid", "modes", "m = 4", "m = 2", 1, (24.8 - 23.8, 0.73),
    ),
    Claim(
        "Packing spreads the sharp samples more evenly over the modes of the ring.",
        "PacGAN, table 1",
        "pacgan", "ring", "reverse_kl", "m = 2", "GAN (m = 1)", -1, (0.45 - 0.07, 0.095),
    ),
    Claim(
        "Packing spreads the sharp samples more evenly over the modes of the grid.",
        "PacGAN, table 1",
        "pacgan", "grid", "reverse_kl", "m = 2", "GAN (m = 1)", -1, (0.70 - 0.13, 0.081),
    ),
    Claim(
        "Packing two samples keeps modes of stacked MNIST.",
        "PacGAN, table 2",
        "pacgan-stacked", "stacked_mnist", "modes", "m = 2", "DCGAN (m = 1)", 1, (1000.0 - 78.9, 6.46),
    ),
    Claim(
        "Looking five updates of a small D ahead keeps modes of stacked MNIST.",
        "Metz et al. 2017, table 1",
        "unrolled-stacked", "stacked_mnist", "modes", "D = 1/4, K = 5", "D = 1/4, K = 0", 1, (236.4 - 30.6, 66.6),
    ),
    # what the same files say of networks and schedules: found in sketches of this project, tested here
    Claim(
        "Tanh instead of ReLU, in both networks, keeps modes that nsgan loses.",
        "this project, before these runs",
        "networks", "ring", "modes", "nsgan, tanh", "nsgan, as it is",
    ),
    Claim(
        "With PyTorch's initialisation the minimax GAN keeps more modes than nsgan.",
        "this project, before these runs",
        "networks", "ring", "modes", "gan, as it is", "nsgan, as it is",
    ),
    Claim(
        "With He et al.'s initialisation the minimax GAN keeps fewer modes than nsgan.",
        "this project, before these runs",
        "networks", "ring", "modes", "nsgan, He", "gan, He",
    ),
    Claim(
        "A learning rate that falls to zero sharpens the samples of nsgan.",
        "this project, before these runs",
        "networks", "ring", "high_quality", "nsgan, as it is", "nsgan, constant rate",
    ),
    Claim(
        "A learning rate that falls to zero sharpens the samples of PacGAN.",
        "this project, before these runs",
        "networks", "ring", "high_quality", "pacgan, as it is", "pacgan, constant rate",
    ),
    Claim(
        "A learning rate that falls to zero sharpens the samples of unrolled GAN.",
        "this project, before these runs",
        "networks", "ring", "high_quality", "unrolled, as it is", "unrolled, constant rate",
    ),
]  # fmt: skip
