"""The recipes of algos/README.md: what the page shows is what is run, each fits the files that the page names, and each
does what is said of it."""

import re

import pytest
import torch
from conftest import ALGOS, ROOT, break_at, contents, same, weights

from scripts.lib import variants
from scripts.lib.inside import inside

NSGAN = (ROOT / "algos" / "nsgan.py").read_text()
PAGE = (ROOT / "algos" / "README.md").read_text().split("\n## Recipes\n")[1].split("\n## ")[0]


# The files that take each recipe: the table of the page has a row for each, in order, with their names or `every file`
ROWS = [row.split("|") for row in PAGE.splitlines() if re.match(r"\| .*\.py|\| .*every file", row)]
NAMED = [ALGOS if "every file" in row[2] else re.findall(r"`(\w+)\.py`", row[2]) for row in ROWS]
FITS = dict(zip(variants.RECIPES, NAMED, strict=True))


def recipe(name, algo="nsgan"):
    """A file of algos/ with the recipe, as a module."""
    return variants.module_of(f"runs/{algo}-{name}.py")


# The page


def test_the_page_shows_the_recipes_that_are_run():
    """Each diff of the page, applied to nsgan.py as a reader would, makes the file that is tested here."""
    shown = []
    for diff in re.findall(r"```diff\n(.*?)```", PAGE, re.DOTALL):
        text = NSGAN
        for place in re.split(r"^@@.*\n", diff, flags=re.MULTILINE):
            old, new = ("".join(f"{line[1:]}\n" for line in place.splitlines() if line[:1] != sign) for sign in "+-")
            assert text.count(old) == 1, f"nsgan.py has not once:\n{old}"
            text = text.replace(old, new)
        shown.append(text)
    assert shown == [variants.changed(NSGAN, name) for name in variants.RECIPES]


# The files


@pytest.mark.parametrize(("name", "algo"), [(name, algo) for name, files in FITS.items() for algo in files])
def test_recipe_fits(name, algo):
    """Each place is there once, and the file trains: numbers are finite, both players move."""
    text = (ROOT / "algos" / f"{algo}.py").read_text()
    assert all(text.count(old) == 1 for old, _ in variants.RECIPES[name])
    local = inside(recipe(name, algo), width=8, batch_size=16)
    before = weights(local["G"])
    for _ in range(3):
        numbers = local["update"]()
    assert all(number.isfinite().all() for number in numbers.values())
    assert not torch.equal(before, weights(local["G"]))


@pytest.mark.parametrize("name", variants.RECIPES)
def test_recipe_resumes(name, tmp_path, monkeypatch):
    """Whatever a recipe adds to the state is in the checkpoint: a resumed run ends as an unbroken one."""
    module, options = recipe(name), {"steps": 6, "checkpoint_every": 3, "log_every": 6, "width": 8, "device": "cpu"}
    whole, broken = (module.Args(**options, out=str(tmp_path / name)) for name in ("whole", "broken"))
    module.train(whole)
    break_at(5, module, broken, monkeypatch)
    broken.resume = True
    module.train(broken)
    assert same(*(contents(tmp_path / name / f"nsgan-{recipe_name(module)}-ring-s1") for name in ("whole", "broken")))


def recipe_name(module):
    return module.__name__.removeprefix("changed_nsgan_")


# What they do


def test_noise_on_the_inputs_of_d_falls_to_zero():
    local, seen = inside(recipe("noise")), []
    local["D"].net.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    for rate in (1.0, 0.5, 0.0):
        local["lr"].fill_(local["args"].lr * rate)
        local["D"](torch.zeros(10_000, 2))
        noise = seen.pop()
        assert noise.std().item() == pytest.approx(0.5 * rate, rel=0.03) and noise.mean().abs() < 0.02
    local["update"]()
    assert len(seen) == 3  # real, generated, and G's


def test_noise_leaves_the_other_inputs_of_d():
    """D of feature_matching.py still gives features where it is asked for them."""
    local = inside(recipe("noise", "feature_matching"))
    assert local["D"](torch.zeros(5, 2), True).shape == (5, local["args"].width)


def test_weight_penalty_is_on_d_only_and_shrinks_it():
    norms = []
    for module in (ALGOS["nsgan"], recipe("weight_decay")):
        local = inside(module)
        torch.manual_seed(0)
        for _ in range(300):
            local["update"]()
        norms.append(sum(p.square().sum() for p in local["D"].parameters()).item())
        decay = [local[name].param_groups[0]["weight_decay"] for name in ("g_opt", "d_opt")]
        assert decay == [0, 0 if module is ALGOS["nsgan"] else 1e-3]
    assert norms[1] < norms[0]


def test_d_has_a_learning_rate_of_its_own_that_falls_too(tmp_path, monkeypatch):
    """Adam's first step is as long as its learning rate, for each weight with a gradient."""
    module = recipe("d_lr")
    local = inside(module)
    before = weights(local["G"]), weights(local["D"])
    local["update"]()
    moved = [(weights(local[name]) - old).abs().max().item() for name, old in zip("GD", before, strict=True)]
    assert moved == pytest.approx([local["args"].lr, 2 * local["args"].lr], rel=0.01)

    seen, fused = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda o: (seen.append(o.param_groups[0]["lr"].item()), fused(o)))
    module.train(module.Args(steps=4, lr=0.1, log_every=4, width=8, out=str(tmp_path), device="cpu"))
    assert seen == pytest.approx([0.2, 0.1, 0.15, 0.075, 0.1, 0.05, 0.05, 0.025])  # D, G, D, G, ...


def test_smoothing_moves_the_real_target_to_90_percent():
    """The best D(x) then is 0.9 p / (p + q), for any p and q: with both targets smoothed there would be a q above."""
    p, q = torch.rand(2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    share = 0.9 * p / (p + q)
    d = torch.logit(share).requires_grad_()
    loss = recipe("smoothing").discriminator_loss
    value = sum(p[i] * loss(d[i : i + 1], torch.full((1,), -torch.inf)) for i in range(50))
    value = value + sum(q[i] * torch.nn.functional.softplus(d[i]) for i in range(50))
    value.backward()
    assert d.grad.abs().max() < 1e-12
    real, fake = torch.randn(2, 9, dtype=torch.float64)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    by_labels = cross_entropy(real, torch.full_like(real, 0.9)) + cross_entropy(fake, torch.zeros_like(fake))
    torch.testing.assert_close(loss(real, fake), by_labels)


def test_average_of_the_weights():
    """m <- m + (w - m) / 1000 after each update of G, from G's first weights; G learns as without it."""
    local = inside(recipe("average"))
    mean = weights(local["G"])
    assert torch.equal(weights(local["G_ema"]), mean)
    for _ in range(5):
        local["update"]()
        mean = mean + 0.001 * (weights(local["G"]) - mean)
    torch.testing.assert_close(weights(local["G_ema"]), mean)
    assert not any(p.grad is None for p in local["G_ema"].parameters())
    assert all(p.grad_fn is None for p in local["G_ema"].parameters())


def test_average_copies_the_statistics_of_batch_norm(tiny_images):
    """Averaged weights with statistics of other weights would make noise; and --amp, where G's forward is wrapped."""
    local = inside(recipe("average"), **tiny_images, device="cpu", amp=True)
    for _ in range(2):
        local["update"]()
    G, G_ema = local["G"], local["G_ema"]
    assert [*G.buffers()] and all(map(torch.equal, G.buffers(), G_ema.buffers()))
    z = torch.randn(4, local["args"].z_dim)
    with torch.no_grad():
        before = G_ema(z)
        for p in G.parameters():
            p.zero_()
        assert before.any() and torch.equal(G_ema(z), before) and not torch.equal(G(z), before)


def test_average_is_what_is_measured_and_kept_as_g(tmp_path):
    """scripts/sample.py and scripts/evaluate.py read G of the checkpoint."""
    module, seen = recipe("average"), []
    kept = module.Generator.forward

    def forward(self, z):
        seen.append((self, len(z)))
        return kept(self, z)

    module.Generator.forward = forward
    try:
        result = module.train(module.Args(steps=3, log_every=3, width=8, out=str(tmp_path), device="cpu"))
    finally:
        module.Generator.forward = kept
    (measured,) = {network for network, n in seen if n == 500}
    saved = torch.load(f"{result['folder']}/checkpoint.pt", weights_only=True)["state"]
    assert all(map(torch.equal, measured.state_dict().values(), saved["G"].values()))
    assert not all(map(torch.equal, saved["G"].values(), saved["G_now"].values()))
    assert result["g_grad"] > 0


def test_history_pulls_both_players_to_the_mean_of_their_weights(monkeypatch):
    """The penalty's gradient is 0.02 (w - mean of all w so far); at the first update it is 0."""
    local, plain = inside(recipe("history")), inside(ALGOS["nsgan"])
    torch.testing.assert_close(weights(local["G"]), weights(plain["G"]))
    seen = {name: [weights(local[name])] for name in "GD"}
    for _ in range(4):
        local["update"]()
        for name in "GD":
            seen[name].append(weights(local[name]))
    for name in "GD":
        torch.testing.assert_close(local[f"{name}_past"], torch.stack(seen[name]).mean(0))
    for opt in ("g_opt", "d_opt"):  # weights stand still: the gradients are those of the step alone
        monkeypatch.setattr(local[opt], "step", lambda: None)
    gradients = []
    for far in (0.0, 1.0):
        for name in "GD":
            local[f"{name}_past"].copy_(weights(local[name]) - far)
        torch.manual_seed(0)
        local["d_step"]()
        local["g_step"]()
        gradients.append([torch.cat([p.grad.flatten() for p in local[name].parameters()]) for name in "GD"])
    for without, pulled in zip(*gradients, strict=True):
        torch.testing.assert_close(pulled - without, torch.full_like(without, 0.02), atol=1e-5, rtol=1e-3)


# The loss of gan.py in place of nsgan.py's


@pytest.mark.parametrize("algo", ["dragan", "minibatch_discrimination"])
def test_saturating_is_the_loss_of_gan(algo):
    """DRAGAN as the table of some lecture notes has it; the code of minibatch discrimination's authors."""
    module, d = recipe("saturating", algo), torch.randn(9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(module.generator_loss(d), ALGOS["gan"].generator_loss(d))
    assert not torch.equal(module.generator_loss(d), ALGOS[algo].generator_loss(d))
    local = inside(module)
    for _ in range(3):
        numbers = local["update"]()
    assert all(number.isfinite().all() for number in numbers.values()) and numbers["g_loss"] < 0
