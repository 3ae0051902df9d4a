"""Small changes to the files of algos/, for comparisons that no flag makes: networks, initialisation, stabilisers,
and the slower lines that most implementations have.

A change is a list of (old text, new text); a file with changes is written below runs/ and is an ordinary script:
`variant("nsgan", "tanh")` makes runs/nsgan-tanh.py, and `diff algos/nsgan.py runs/nsgan-tanh.py` shows the change.
"""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LR = "    lr = torch.tensor(args.lr, device=run.device)"  # the line after the networks

Change = list[tuple[str, str]]


def initialised(weight: str) -> Change:
    """Linear layers of G and D with these weights, and zero biases."""
    loop = f"""    for layer in (*G.modules(), *D.modules()):
        if isinstance(layer, nn.Linear):
            {weight}
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
"""
    return [(LR, loop + LR)]


def points(first: str, hidden: str, last: str) -> str:
    """The layers of one of the files' networks for points, with two hidden layers after the first."""
    return f"            self.net = nn.Sequential(\n                {first}\n{2 * hidden}                {last}"


# The networks of PacGAN's code for points (Lin et al. 2018): G with batch norm, D with maxout units of 5 pieces
PLAIN = "                nn.ReLU(),\n                nn.Linear(width, width),\n"
MAXOUT = """class Maxout(nn.Module):
    \"\"\"The largest of 5 pieces: [B, 5 n] to [B, n] (Goodfellow et al. 2013, arXiv 1302.4389).\"\"\"

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (5, -1)).amax(1)


class Discriminator(nn.Module):"""
PACGAN: Change = [
    (
        points("nn.Linear(z_dim, width),", PLAIN, "nn.ReLU(),\n                nn.Linear(width, *shape),"),
        points(
            "nn.Linear(z_dim, 400, bias=False),\n                nn.BatchNorm1d(400),\n                nn.ReLU(),",
            "                nn.Linear(400, 400, bias=False),\n                nn.BatchNorm1d(400),\n"
            "                nn.ReLU(),\n",
            "nn.Linear(400, 400, bias=False),\n                nn.BatchNorm1d(400),\n                nn.ReLU(),\n"
            "                nn.Linear(400, *shape),",
        ),
    ),
    (
        points("nn.Linear(*shape, width),", PLAIN, "nn.ReLU(),\n                nn.Linear(width, 1),"),
        points(
            "nn.Linear(*shape, 1000),\n                Maxout(),",
            "                nn.Linear(200, 1000),\n                Maxout(),\n",
            "nn.Linear(200, 1),",
        ),
    ),
    ("class Discriminator(nn.Module):", MAXOUT),
    *initialised("nn.init.normal_(layer.weight, std=0.02)"),
]

FAKE = "fake = G(torch.randn(run.batch_size, z_dim, device=run.device))"

# Lines that most implementations have where the files have faster ones
COMMON: dict[str, Change] = {
    "dataloader": [("    data = load_data(", "    from scripts.speed import loader\n\n    data = loader(")],
    "item": [
        (
            "    # loop\n",
            "    # loop\n    whole = update\n\n    def update():\n"
            "        return {name: number.mean().item() for name, number in whole().items()}\n\n",
        )
    ],
    "graph_through_g": [
        (f"        with torch.no_grad():\n            {FAKE}", f"        {FAKE}.detach()"),
    ],
    "d_gradients": [("g_loss.backward(inputs=[*G.parameters()])", "g_loss.backward()")],
    "plain_adam": [
        ('{"lr": lr, "betas"', '{"lr": args.lr, "betas"'),
        (', "fused": True, "capturable": True', ""),
        (
            "        numbers = update()\n",
            "        for group in (*g_opt.param_groups, *d_opt.param_groups):\n"
            '            group["lr"] = lr.item()\n        numbers = update()\n',
        ),
    ],
    "channels_first": [(", memory_format=torch.channels_last", "")],
}

CHANGES: dict[str, Change] = COMMON | {
    "common": [pair for change in COMMON.values() for pair in change],
    # units of the hidden layers for points, in G and in D
    "leaky": [("                nn.ReLU(),", "                nn.LeakyReLU(0.2),")],
    "tanh": [("                nn.ReLU(),", "                nn.Tanh(),")],
    # initialisation of both; PyTorch's own is uniform, of standard deviation 1 / sqrt(3 n) for n inputs
    "he": initialised('nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")'),
    "orthogonal": initialised("nn.init.orthogonal_(layer.weight, gain=2**0.5)"),
    "pacgan_networks": PACGAN,
    # one pass of G for both players, as most implementations have it where D makes one update to one of G
    "one_pass": [
        (
            f"        with torch.no_grad():\n            {FAKE}",
            f"        G.drawn = {FAKE[7:]}\n        fake = G.drawn.detach()",
        ),
        (f"        {FAKE}", "        fake = G.drawn"),
    ],
    # a small D: with --width 16, G 64-32-16 and D 2-4-8 or 4-8-16, as PacGAN's code has Metz et al.'s 2017 experiment
    "quarter_d": [("Discriminator(data.shape, args.width)", "Discriminator(data.shape, args.width // 8)")],
    "half_d": [("Discriminator(data.shape, args.width)", "Discriminator(data.shape, args.width // 4)")],
}


def recipes() -> dict[str, Change]:
    """The README's two recipes, from its diffs."""
    found = {}
    diffs = re.findall(r"```diff\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for name, diff in zip(["noise", "weight_decay"], diffs, strict=True):
        lines = diff.splitlines()
        old, new = ("\n".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
        found[name] = [(old, new)]
    return found


def change(name: str) -> Change:
    """The change of this name."""
    return CHANGES[name] if name in CHANGES else recipes()[name]


def changed(text: str, name: str) -> str:
    """The text of a file after a change. Raises ValueError if there is nothing to change."""
    for old, new in change(name):
        if old not in text:
            raise ValueError(f"{name} does not fit: there is no\n{old}")
        text = text.replace(old, new)
    return text


def variant(algo: str, name: str) -> Path:
    """Writes the file of algos/ with this change below runs/, from where it finds common/, and returns its path."""
    path = ROOT / "runs" / f"{algo}-{name}.py"
    path.parent.mkdir(exist_ok=True)
    text = changed((ROOT / "algos" / f"{algo}.py").read_text(), name)
    if not path.exists() or path.read_text() != text:
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(text)
        os.replace(temporary, path)  # another process may be reading it
    return path
