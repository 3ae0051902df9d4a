"""What train() passes on: each flag reaches the formula that it is for, and each loss is made of what it should be."""

import pytest
import torch
from conftest import ALGOS, discriminators
from torch import nn

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
    ("dragan", {"noise": "uniform", "noise_variance": 0.5}, "perturb", ("uniform", 0.5)),
    ("dragan", {"k": 2.0}, "gradient_penalty", (2.0,)),
    ("began", {"gamma": 0.3}, "balance", (0.3,)),
    *[
        ("dual_d_selu", {"loss": loss}, function, (loss,))
        for loss in ("eq6", "hinge")
        for function in ("discriminator1_loss", "discriminator2_loss", "generator_loss")
    ],
]


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
def test_flag_reaches_its_formula(name, flags, function, passed, inside, monkeypatch):
    calls = spy(monkeypatch, ALGOS[name], function)
    local = inside(ALGOS[name], width=8, **flags)
    calls.clear()
    local["update"]()
    assert calls and all(args[-len(passed) :] == passed for args, _ in calls)


@pytest.mark.parametrize(("name", "function"), [("unrolled", "unroll"), ("dragan", "perturb")])
def test_mean_over_processes_is_handed_on(name, function, inside, monkeypatch):
    original, seen = getattr(ALGOS[name], function), []
    watched = lambda *args, mean: seen.append(mean) or original(*args, mean=mean)  # noqa: E731
    monkeypatch.setattr(ALGOS[name], function, watched)
    local = inside(ALGOS[name], width=8)
    seen.clear()
    local["update"]()
    assert seen == [local["run"].mean]


@pytest.mark.parametrize("name", ["wgan_gp", "dragan"])
def test_penalty_counts_lambda_times(name, inside):
    local = inside(ALGOS[name], width=8, lambda_=3.0)
    numbers = local["update"]()
    plain = ALGOS[name].discriminator_loss(numbers["d_real"], numbers["d_fake"])
    assert numbers["gp"] > 0
    torch.testing.assert_close(numbers["d_loss"], plain + 3 * numbers["gp"])


@pytest.mark.parametrize("name", sorted(set(ALGOS) - {"wgan_gp", "dragan"}))
def test_losses_are_those_of_the_logged_outputs(name, inside, monkeypatch):
    """d_loss is the sum of the discriminators' losses, on the outputs that are logged; g_loss is generator_loss's."""
    module = ALGOS[name]
    losses = [loss for loss in vars(module) if loss.startswith("discriminator") and loss.endswith("_loss")]
    calls = {loss: spy(monkeypatch, module, loss) for loss in losses}
    g_calls = spy(monkeypatch, module, "generator_loss")
    local = inside(module, width=8)
    numbers = local["update"]()
    total = 0
    for loss in losses:
        i = loss.removeprefix("discriminator").removesuffix("_loss")
        real, fake = numbers[f"d{i}_real"], numbers[f"d{i}_fake"]
        found = [(args, value) for args, value in calls[loss] if args[0] is real]
        assert len(found) == 1 and (name == "began" or found[0][0][1] is fake)
        total = total + found[0][1]
    torch.testing.assert_close(numbers["d_loss"], total)
    assert len(g_calls) == 1 and g_calls[0][1] is numbers["g_loss"]


def test_dual_penalty_is_ten_times_that_of_both(inside, monkeypatch):
    dual = ALGOS["dual_d_selu"]
    calls = spy(monkeypatch, dual, "gradient_penalty")
    local = inside(dual, width=8, gradient_penalty=True)
    numbers = local["update"]()
    assert [args[0] for args, _ in calls] == discriminators(local)
    real1, fake1, real2, fake2 = (numbers[name] for name in ("d1_real", "d1_fake", "d2_real", "d2_fake"))
    expected = dual.discriminator1_loss(real1, fake1) + dual.discriminator2_loss(real2, fake2)
    expected = expected + 10 * (calls[0][1] + calls[1][1])
    torch.testing.assert_close(numbers["d_loss"], expected)


def test_real_and_generated_samples_are_never_in_one_minibatch_discrimination(inside):
    local, sizes = inside(ALGOS["dual_d_selu"], width=8), []
    (layer,) = [m for m in local["D1"].modules() if isinstance(m, ALGOS["dual_d_selu"].MinibatchDiscrimination)]
    layer.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    local["update"]()
    assert sizes == [128] * 3  # real, generated, and G's


def test_each_sample_of_a_pack_is_of_its_own_noise(inside, monkeypatch):
    calls = spy(monkeypatch, ALGOS["pacgan"], "pack")
    inside(ALGOS["pacgan"], width=8)["update"]()
    assert len(calls) == 3 and all(len(torch.unique(args[0], dim=0)) == 128 for args, _ in calls)


def test_generator_of_unrolled_is_seen_through(inside, monkeypatch):
    """train() hands the unroll G's samples with their gradient, real samples, D and D's own optimiser."""
    unrolled = ALGOS["unrolled"]
    calls, g_calls = spy(monkeypatch, unrolled, "unroll"), spy(monkeypatch, unrolled, "generator_loss")
    local = inside(unrolled, width=8)
    local["update"]()
    ((D, d_opt, real, fake, _), weights), ((d_real, d_fake), _) = calls[0], g_calls[0]
    assert D is local["D"] and d_opt is local["d_opt"] and fake.requires_grad and not real.requires_grad
    torch.testing.assert_close(d_real, torch.func.functional_call(D, weights, real))
    torch.testing.assert_close(d_fake, torch.func.functional_call(D, weights, fake))


def test_code_dim_reaches_the_auto_encoder(inside):
    encoder = inside(ALGOS["began"], code_dim=7)["D"].net
    assert [m.out_features for m in encoder if isinstance(m, nn.Linear)][-1] == 7


def test_weights_of_maximum_likelihood_and_their_effective_share(inside, monkeypatch):
    """ess: 1 where all samples weigh the same, 1 / batch where one has it all."""
    mlegan = ALGOS["mlegan"]
    local = inside(mlegan, width=8)
    for outputs, expected in [(torch.full((128,), -2.0), 1.0), (torch.tensor([3.0] + [-50.0] * 127), 1 / 128)]:
        local["D"].forward = lambda x, outputs=outputs: outputs + 0 * x.sum(1)
        assert local["g_step"]()["ess"].item() == pytest.approx(expected, rel=1e-4)
