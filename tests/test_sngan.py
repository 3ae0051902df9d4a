"""Spectral norm: one power iteration for each update of D, what it converges to, and what D's slope then is."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from conftest import ALGOS
from torch import nn

sngan, nsgan = ALGOS["sngan"], ALGOS["nsgan"]
SHAPES = [(2,), (3, 32, 32)]


def normed(D):
    """[(layer, W, u, v)] of a discriminator: copies of the weights before the norm, and of the vectors."""
    layers = [layer for layer in D.net if hasattr(layer, "weight")]
    parts = [(layer.parametrizations.weight.original, layer.parametrizations.weight[0]) for layer in layers]
    return [
        (layer, W.detach().clone().flatten(1), norm._u.clone(), norm._v.clone())
        for layer, (W, norm) in zip(layers, parts, strict=True)
    ]


def iterated(W, v):
    """One step of the power iteration by hand."""
    u = F.normalize(W @ v, dim=0)
    return u, F.normalize(W.T @ u, dim=0)


def at_random(D):
    """Gives D vectors that are far from those to which the iteration converges."""
    for name, buffer in D.named_buffers():
        assert name.endswith(("._u", "._v"))
        buffer.copy_(F.normalize(torch.randn_like(buffer), dim=0))


@pytest.fixture(params=["points", "images"])
def local(request, inside, tiny_images):
    """The local variables of train(), D's vectors at random."""
    local = inside(sngan, seed=3, d_steps=1, **(tiny_images if request.param == "images" else {"width": 16}))
    torch.manual_seed(0)
    at_random(local["D"])
    return local


@pytest.mark.parametrize("shape", SHAPES)
def test_every_weight_of_the_discriminator_is_normed_and_none_of_the_generator(shape):
    D, G = sngan.Discriminator(shape, 8), sngan.Generator(5, shape, 8)
    weights = [name for name, p in D.named_parameters() if p.dim() > 1]
    assert weights and all(name.endswith(".weight.original") for name in weights) and len(normed(D)) == len(weights)
    assert not any("parametrizations" in name for name in G.state_dict())
    assert sum(p.numel() for p in D.parameters()) == sum(p.numel() for p in nsgan.Discriminator(shape, 8).parameters())


def test_one_update_of_the_discriminator_is_one_power_iteration(local):
    """By the weights before the update; the vectors by hand are far from those of no or two iterations."""
    before = normed(local["D"])
    local["d_step"]()
    for (_, W, u, v), (_, _, u1, v1) in zip(before, normed(local["D"]), strict=True):
        once = iterated(W, v)
        torch.testing.assert_close((u1, v1), once, atol=1e-5, rtol=1e-4)
        if min(W.shape) > 1:  # else one step is all there is
            assert (u1 - u).norm() > 0.01 and (v1 - iterated(W, once[1])[1]).norm() > 1e-3


def test_a_step_of_the_generator_moves_no_vector(local):
    before = normed(local["D"])
    local["g_step"]()
    for (_, _, u, v), (_, _, u1, v1) in zip(before, normed(local["D"]), strict=True):
        assert torch.equal(u, u1) and torch.equal(v, v1)


def test_so_many_iterations_as_updates_of_the_discriminator(inside):
    local = inside(sngan, width=16, d_steps=3)
    local["lr"].zero_()  # W stays
    at_random(local["D"])
    before = normed(local["D"])
    local["update"]()
    for (_, W, _, v), (_, _, u3, v3) in zip(before, normed(local["D"]), strict=True):
        for _ in range(3):
            u, v = iterated(W, v)
        torch.testing.assert_close((u3, v3), (u, v), atol=1e-5, rtol=1e-4)


def test_real_and_fake_meet_the_same_weights_and_the_generator_the_new_ones(local):
    """The weights in use are W / (u' W v): in D's step once for both calls, in G's step with D's update in them."""
    uses = []
    local["D"].register_forward_pre_hook(
        lambda D, _: uses.append([layer.weight for layer in D.net if hasattr(layer, "weight")])
    )
    before = normed(local["D"])
    local["update"]()
    real, fake, g_step = uses
    after = normed(local["D"])
    for i, (_, W, _, _) in enumerate(before):
        assert real[i] is fake[i]
        _, W1, u, v = after[i]
        torch.testing.assert_close(real[i].flatten(1), W / (u @ W @ v), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(g_step[i].flatten(1), W1 / (u @ W1 @ v), atol=1e-5, rtol=1e-4)
        assert not torch.equal(W, W1)


def test_gradient_goes_through_the_norm():
    """u and v are constants in it: that of w . W / (u' W v) by W is (w - s (w . W / s) u v') / s, s = u' W v."""
    torch.manual_seed(0)
    D = sngan.Discriminator((2,), 8).double()
    layer, W, u, v = normed(D)[1]
    w = torch.randn_like(W)
    (w * layer.weight).sum().backward()
    s = u @ W @ v
    expected = w / s - (w * W).sum() / s**2 * torch.outer(u, v)
    torch.testing.assert_close(layer.parametrizations.weight.original.grad, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_largest_singular_value_becomes_one(shape):
    torch.manual_seed(0)
    D = sngan.Discriminator(shape, 8).double()
    at_random(D)
    norms = [torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item() for layer, *_ in normed(D)]
    assert max(norms) > 1.5  # not before
    for _ in range(2000):
        sngan.power_iteration(D)
    for layer, W, u, v in normed(D):
        torch.testing.assert_close(torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item(), 1.0)
        torch.testing.assert_close(u @ W @ v, torch.linalg.svdvals(W)[0])


def test_discriminator_of_points_has_slope_one_at_most():
    """With converged vectors: between any two points, and however large its weights are before the norm."""
    torch.manual_seed(0)
    D = sngan.Discriminator((2,), 32).double()
    plain = nsgan.Discriminator((2,), 32).double()
    with torch.no_grad():
        for p in [*D.parameters(), *plain.parameters()]:
            p.mul_(4)
    for _ in range(2000):
        sngan.power_iteration(D)
    a, b = 5 * torch.randn(2, 1000, 2, dtype=torch.float64)
    slope = [((net(a) - net(b)).abs() / (a - b).norm(dim=1)).max().item() for net in (D, plain)]
    assert 0.01 < slope[0] <= 1 + 1e-9 and slope[1] > 2


def test_a_convolution_can_stretch_by_two():
    """The norm is of its reshaped weight; 4x4 kernels at stride 2 overlap so that it may be 2 (4/2, in each patch).

    The layer is within another: a D with blocks has its norms moved, too.
    """
    layer = sngan.spectral_norm(nn.Conv2d(1, 1, 4, 2, 1, bias=False))
    nn.init.constant_(layer.parametrizations.weight.original, 0.3)  # far from what its vectors are of
    D = nn.Module()
    D.net = nn.Sequential(nn.Sequential(layer))
    sngan.power_iteration(D)
    torch.testing.assert_close(layer.weight.norm().item(), 1.0)
    x = torch.ones(1, 1, 256, 256)
    assert 1.95 < (layer(x).norm() / x.norm()).item() <= 2


@pytest.mark.parametrize("shape", SHAPES)
def test_looking_at_samples_changes_nothing_in_the_discriminator(shape):
    D = sngan.Discriminator(shape, 8)
    at_random(D)
    before = {name: value.clone() for name, value in D.state_dict().items()}
    x = torch.randn(4, *shape)
    first = D(x)
    assert torch.equal(first, D(x)) and not D.training
    sngan.power_iteration(D)
    assert not torch.equal(first, D(x)) and not any(module.training for module in D.modules())
    moved = [name for name, value in D.state_dict().items() if not torch.equal(value, before[name])]
    assert moved and all(name.endswith(("._u", "._v")) for name in moved)


def test_vectors_are_in_the_checkpoint(tmp_path):
    args = sngan.Args(steps=3, width=8, batch_size=8, device="cpu", out=str(tmp_path), quiet=True)
    result = sngan.train(args)
    saved = torch.load(f"{result['folder']}/checkpoint.pt", weights_only=True)["state"]["D"]
    vectors = [name for name in saved if name.endswith(("._u", "._v"))]
    assert len(vectors) == 2 * 4 and not any(name.startswith("G") for name in vectors)
    D = sngan.Discriminator((2,), 8)
    D.load_state_dict(saved)
    assert all(torch.equal(buffer, saved[name]) for name, buffer in D.named_buffers())


def test_bfloat16_leaves_the_iteration_alone(inside, tiny_images):
    """With --amp D's step computes each weight once, in train mode, and before the networks' bfloat16 begins."""
    local, looks = inside(sngan, amp=True, **tiny_images), []
    layers = [layer for layer, *_ in normed(local["D"])]
    for layer in layers:
        layer.parametrizations.weight[0].register_forward_pre_hook(
            lambda norm, _: looks.append((norm.training, torch.is_autocast_enabled("cpu")))
        )
    local["d_step"]()
    assert looks == [(True, False)] * len(layers)
    looks.clear()
    local["g_step"]()
    assert len(looks) == len(layers) and not any(training for training, _ in looks)
    assert all(p.dtype == torch.float32 for p in [*local["D"].parameters(), *local["D"].buffers()])


def test_losses_by_hand():
    d_real, d_fake = torch.tensor([0.5, 3.0, -2.0]), torch.tensor([-0.5, -4.0, 1.0])
    hinge = partial(sngan.discriminator_loss, loss="hinge")
    assert hinge(d_real, d_fake).item() == pytest.approx((0.5 + 0 + 3) / 3 + (0.5 + 0 + 2) / 3)
    assert sngan.generator_loss(d_fake, "hinge").item() == pytest.approx(3.5 / 3)
    assert torch.equal(sngan.discriminator_loss(d_real, d_fake), nsgan.discriminator_loss(d_real, d_fake))
    assert torch.equal(sngan.generator_loss(d_fake), nsgan.generator_loss(d_fake))


def test_slopes_of_the_hinge():
    """-1 and 1 for D within the margin and beyond the wrong side, zero beyond the margin; always -1 for G."""
    d = torch.tensor([-3.0, -1.5, 0.0, 0.5, 1.5, 3.0], requires_grad=True)
    zero, n = torch.zeros(1), len(d)

    def slope(loss):
        return torch.autograd.grad(loss, d)[0].mul(n).tolist()

    assert slope(sngan.discriminator_loss(d, zero, "hinge")) == pytest.approx([-1, -1, -1, -1, 0, 0])
    assert slope(sngan.discriminator_loss(zero, d, "hinge")) == pytest.approx([0, 0, 1, 1, 1, 1])
    assert slope(sngan.generator_loss(d, "hinge")) == pytest.approx([-1] * n)


def test_the_chosen_loss_is_used(inside):
    for name in ("nonsaturating", "hinge"):
        numbers = inside(sngan, width=8, loss=name)["update"]()
        expected = sngan.discriminator_loss(numbers["d_real"], numbers["d_fake"], name)
        torch.testing.assert_close(numbers["d_loss"], expected)
        fake = [sngan.generator_loss(numbers["d_fake"], loss) for loss in ("nonsaturating", "hinge")]
        nearer = min(fake, key=lambda loss: (loss - numbers["g_loss"]).abs())  # other samples, but the losses differ
        assert nearer is fake[name == "hinge"]
