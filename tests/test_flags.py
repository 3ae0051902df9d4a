"""What train() passes on: each flag reaches the formula that it is for, and each loss is made of what it should be."""

import dataclasses
import importlib
import inspect
import typing
from pathlib import Path

import pytest
import torch
from conftest import ALGOS, ROOT, discriminators, same, weights
from torch import nn

from common.args import parse
from scripts.lib.inside import inside

FLAGS = [  # file, flags, function that is to get them, as its last arguments
    ("lsgan", {"a": -1.0, "b": 2.0}, "discriminator_loss", (-1.0, 2.0)),
    ("lsgan", {"c": 0.5}, "generator_loss", (0.5,)),
    ("mlegan", {"max_logit": 1.5}, "generator_loss", (1.5,)),
    ("wgan", {"clip": 0.3}, "clip_weights", (0.3,)),
    ("pacgan", {"packing": 4}, "pack", (4,)),
    ("unrolled", {"unroll_steps": 7}, "unroll", (7,)),
    ("d2gan", {"alpha": 0.3}, "discriminator1_loss", (0.3,)),
    ("d2gan", {"beta": 0.7}, "discriminator2_loss", (0.7,)),
    ("d2gan", {"beta": 0.7}, "generator_loss", (0.7,)),
    ("dragan", {"noise_variance": 0.5}, "perturb", (0.5,)),
    ("dragan", {"k": 2.0}, "gradient_penalty", (2.0,)),
    ("began", {"gamma": 0.3}, "balance", (0.3,)),
]


def own_flags(module):
    """The fields of Args below `# the algorithm`."""
    source = inspect.getsource(module.Args).partition("# the algorithm")[2]
    return [field for field in dataclasses.fields(module.Args) if f"\n    {field.name}:" in source]


def spy(monkeypatch, module, function):
    """The list of (arguments, result) of each call from now on."""
    original, calls = getattr(module, function), []

    def watched(*args, **options):
        result = original(*args, **options)
        calls.append((args, result))
        return result

    monkeypatch.setattr(module, function, watched)
    return calls


@pytest.mark.parametrize(("name", "flags", "function", "passed"), FLAGS)
def test_flag_reaches_its_formula(name, flags, function, passed, monkeypatch):
    calls = spy(monkeypatch, ALGOS[name], function)
    local = inside(ALGOS[name], width=8, **flags)
    calls.clear()
    local["update"]()
    assert calls and all(args[-len(passed) :] == passed for args, _ in calls)


def test_every_flag_of_the_algorithm_changes_the_updates(algo):
    """None is only parsed: with another value, three updates from the same seed end elsewhere."""

    def outcome(**flags):
        local = inside(algo, **{"width": 8, "batch_size": 16, "d_steps": 1, **flags})
        numbers = [local["update"]() for _ in range(3)]
        return [weights(module) for module in (local["G"], *discriminators(local))] + numbers

    default, plain, kinds = algo.Args(), outcome(), typing.get_type_hints(algo.Args)
    for field in own_flags(algo):
        name, value = field.name, getattr(default, field.name)
        if name == "steps":  # no part of an update
            continue
        others = [choice for choice in typing.get_args(kinds[name]) if choice != value]
        if kinds[name] is bool:
            others = [not value]
        elif kinds[name] is int:
            others = [2 * value, 32]
        elif kinds[name] is float:
            others = [value / 2, (value + 1) / 2, 0.0]  # a bound need not matter at each of them
        assert any(not same(outcome(**{name: other}), plain) for other in others), f"{name} of {algo.__name__}"


def test_settings_of_every_data_set_are_complete(algo):
    """The rows of PRESETS have the same keys, each of a flag; Args fills all of them, and a given flag stays."""
    presets, fields = algo.PRESETS, {field.name: field for field in dataclasses.fields(algo.Args)}
    keys = [*presets["ring"]]
    assert [*presets] == ["ring", "grid", "digits", "images"] and all([*row] == keys for row in presets.values())
    assert set(keys) == {name for name, field in fields.items() if field.default is algo.PRESET}
    assert set(keys) <= {field.name for field in own_flags(algo)}
    kinds = typing.get_type_hints(algo.Args)
    sets = typing.get_args(kinds["dataset"])
    assert presets.keys() - {"images"} <= set(sets)
    for dataset in sets:
        row = presets["digits" if "digits" in dataset else dataset if dataset in ("ring", "grid") else "images"]
        args = algo.Args(dataset=dataset)
        assert {key: getattr(args, key) for key in keys} == row
        assert all(type(getattr(args, key)) is kinds[key] for key in row)
        given = algo.Args(dataset=dataset, lr=0.5, z_dim=7, **{key: 0.0 for key in keys if key == "beta1"})
        assert (given.lr, given.z_dim, given.steps) == (0.5, 7, row["steps"])
        assert getattr(given, "beta1", 0.0) == 0  # a zero is given, too
    assert algo.Args() == algo.Args(dataset="ring")


def test_the_seed_decides_the_weights_and_the_samples():
    def outcome(seed):
        local = inside(ALGOS["nsgan"], width=8, seed=seed)
        return weights(local["G"]), weights(local["D"]), local["data"].sample(5)

    first, again, other = outcome(1), outcome(1), outcome(2)
    assert same(first, again) and not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        (n, f)
        for n, m in ALGOS.items()
        for f, x in vars(m).items()
        if inspect.isfunction(x) and "mean" in inspect.signature(x).parameters
    ],
)
def test_mean_over_processes_is_handed_on(name, function, monkeypatch):
    """To each function that has it as an argument."""
    original, seen = getattr(ALGOS[name], function), []
    watched = lambda *args, mean: seen.append(mean) or original(*args, mean=mean)  # noqa: E731
    monkeypatch.setattr(ALGOS[name], function, watched)
    local = inside(ALGOS[name], width=8)
    seen.clear()
    local["update"]()
    assert seen and all(mean == local["run"].mean for mean in seen)


def elsewhere(name, loss):
    """Whether the file's own test file says what the number of that name is made of."""
    own = Path(__file__).with_name(f"test_{name}.py")
    return own.exists() and f'["{loss}"]' in own.read_text()


@pytest.mark.parametrize("name", ALGOS)
def test_losses_are_those_of_the_logged_outputs(name, monkeypatch):
    """d_loss is the sum of the discriminators' losses, on the outputs that are logged; g_loss is generator_loss's.

    With lambda it has lambda times the penalty in it, too. Other sums are for the file's own tests.
    """
    module = ALGOS[name]
    losses = [loss for loss in vars(module) if loss.startswith("discriminator") and loss.endswith("_loss")]
    calls = {loss: spy(monkeypatch, module, loss) for loss in losses}
    g_calls = spy(monkeypatch, module, "generator_loss")
    local = inside(module, width=8, **({"lambda_": 3.0} if hasattr(module.Args(), "lambda_") else {}))
    numbers = local["update"]()
    total = 0
    every = [call for loss in losses for call in calls[loss]]
    for i in ("1", "2") if "d2_real" in numbers else ("",):
        real, fake = numbers[f"d{i}_real"], numbers[f"d{i}_fake"]
        found = [call for call in every if call[0][0] is real or (call[0][0] is fake and call[0][1] is real)]
        assert len(found) == 1  # of BEGAN's fakes those of G's step are logged
        assert any(x is fake for x in found[0][0]) or "k" in numbers
        total = total + found[0][1]
    if hasattr(local["args"], "lambda_"):
        assert numbers["gp"] > 0
        total = total + 3 * numbers["gp"]
    hint = f"{{}} has other parts: say in tests/test_{name}.py which"
    assert len(g_calls) == 1
    if not elsewhere(name, "d_loss"):
        torch.testing.assert_close(numbers["d_loss"], total, msg=lambda text: f"{hint.format('d_loss')}\n{text}")
    assert g_calls[0][1] is numbers["g_loss"] or elsewhere(name, "g_loss"), hint.format("g_loss")


@pytest.mark.parametrize("name", [name for name, module in ALGOS.items() if hasattr(module, "MinibatchDiscrimination")])
def test_real_and_generated_samples_are_never_in_one_minibatch_discrimination(name):
    local, sizes = inside(ALGOS[name], width=8, batch_size=32, d_steps=1), []
    layers = [
        m for D in discriminators(local) for m in D.modules() if isinstance(m, ALGOS[name].MinibatchDiscrimination)
    ]
    assert len(layers) == 1
    layers[0].register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    local["update"]()
    assert sizes == [32] * 3  # real, generated, and G's


def test_each_sample_of_a_pack_is_of_its_own_noise(monkeypatch):
    calls = spy(monkeypatch, ALGOS["pacgan"], "pack")
    inside(ALGOS["pacgan"], width=8)["update"]()
    assert len(calls) == 3 and all(len(torch.unique(args[0], dim=0)) == 128 for args, _ in calls)


def test_generator_of_unrolled_is_seen_through(monkeypatch):
    """train() hands the unroll G's samples with their gradient, real samples, D and D's own optimiser."""
    unrolled = ALGOS["unrolled"]
    calls, g_calls = spy(monkeypatch, unrolled, "unroll"), spy(monkeypatch, unrolled, "generator_loss")
    local, samples = inside(unrolled, width=8), []
    sample = local["data"].sample
    monkeypatch.setattr(local["data"], "sample", lambda n: samples.append(sample(n)) or samples[-1])
    local["update"]()
    ((D, d_opt, real, fake, _), weights), ((d_real, d_fake), _) = calls[0], g_calls[0]
    assert D is local["D"] and d_opt is local["d_opt"] and fake.requires_grad and not real.requires_grad
    assert len(samples) == 2 and real is samples[1]  # not those that D has just learned from
    torch.testing.assert_close(d_real, torch.func.functional_call(D, weights, real))
    torch.testing.assert_close(d_fake, torch.func.functional_call(D, weights, fake))


def test_code_dim_reaches_the_auto_encoder():
    encoder = inside(ALGOS["began"], code_dim=7)["D"].net
    assert [m.out_features for m in encoder if isinstance(m, nn.Linear)][-1] == 7


def test_weights_of_maximum_likelihood_and_their_effective_share():
    """ess: 1 where all samples weigh the same, even if exp(logit) is 0 in float32; 1 / batch where one has it all."""
    local = inside(ALGOS["mlegan"], width=8)
    same = [(torch.full((128,), logit), 1.0) for logit in (-2.0, -60.0, -200.0)]
    for outputs, expected in [*same, (torch.tensor([3.0] + [-50.0] * 127), 1 / 128)]:
        local["D"].forward = lambda x, outputs=outputs: outputs + 0 * x.sum(1)
        assert local["g_step"]()["ess"].item() == pytest.approx(expected, rel=1e-4)


def test_a_copy_with_another_default_data_set_has_its_settings(tmp_path, monkeypatch):
    """The command line may not know better than the file which data set comes first."""
    text = (ROOT / "algos" / "nsgan.py").read_text()
    (tmp_path / "my_gan.py").write_text(text.replace('"folder"] = "ring"', '"folder"] = "digits"'))
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("my_gan")
    assert parse(mine.Args, words=["--seed", "3"]) == mine.Args(dataset="digits", seed=3)
    assert parse(mine.Args, words=["--dataset", "grid"]) == mine.Args(dataset="grid")
