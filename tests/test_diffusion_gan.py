"""The noise that D sees: its moments, its levels, and the gradient that reaches G through it."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from conftest import ALGOS

diffusion_gan = ALGOS["diffusion_gan"]
alphas_bar, diffuse = diffusion_gan.alphas_bar, diffusion_gan.diffuse


@pytest.fixture
def noised(monkeypatch):
    """What training makes noisy, in the order of the calls: [(x, t, x_t)]."""
    calls = []

    def noise(x, t, *words):
        calls.append((x, t, diffuse(x, t, *words)))
        return calls[-1][2]

    monkeypatch.setattr(diffusion_gan, "diffuse", noise)
    return calls


def test_alphas_bar():
    """Products of 1 - beta by hand; with 1000 levels nearly nothing of x is left, as in every such table."""
    torch.testing.assert_close(alphas_bar(1), torch.tensor([1, 1 - 1e-4]))
    torch.testing.assert_close(
        alphas_bar(3), torch.tensor([1, 0.9999, 0.9999 * (1 - 0.01005), 0.9999 * (1 - 0.01005) * 0.98])
    )
    for levels in (1, 10, 1000):
        abar = alphas_bar(levels)
        assert abar.shape == (levels + 1,) and abar[0] == 1 and (abar.diff() < 0).all() and abar[-1] > 0
    assert alphas_bar(1000)[-1].item() == pytest.approx(4.036e-5, rel=1e-2)


@pytest.mark.parametrize("t", [0, 1, 50, 100])
def test_mean_and_variance(t):
    """x_t ~ N(sqrt(abar_t) x, (1 - abar_t) sigma^2 I), independent in each number."""
    torch.manual_seed(0)
    abar, x, n = alphas_bar(100), torch.tensor([1.5, -2.0]), 200_000
    samples = diffuse(x.expand(n, 2), torch.full((n,), t), abar, sigma=0.7)
    mean, covariance = abar[t].sqrt() * x, (1 - abar[t]) * 0.7**2 * torch.eye(2)
    torch.testing.assert_close(samples.mean(0), mean, atol=0.01, rtol=0)
    torch.testing.assert_close(samples.T.cov(), covariance, atol=0.005, rtol=0.02)


@pytest.mark.parametrize("shape", [(2,), (3, 16, 16)])
def test_level_zero_leaves_x_and_each_sample_has_a_level_of_its_own(shape):
    x, abar = torch.randn(6, *shape), alphas_bar(50)
    assert torch.equal(diffuse(x, torch.zeros(6, dtype=torch.long), abar, 1.0), x)
    t = torch.tensor([0, 50, 0, 50, 50, 0])
    noised = diffuse(x, t, abar, 1.0)
    assert noised.shape == x.shape
    assert [torch.equal(a, b) for a, b in zip(noised, x, strict=True)] == (t == 0).tolist()


@pytest.mark.parametrize("shape", [(2,), (3, 16, 16)])
def test_gradient_reaches_x_with_the_factor_sqrt_abar(shape):
    x, abar, t = torch.randn(4, *shape, requires_grad=True), alphas_bar(50), torch.tensor([0, 1, 25, 50])
    upstream = torch.randn(4, *shape)
    (grad,) = torch.autograd.grad((upstream * diffuse(x, t, abar, 1.0)).sum(), x)
    torch.testing.assert_close(grad, abar[t].sqrt().view(-1, *[1] * len(shape)) * upstream)


def test_levels_are_even_from_zero_to_the_last(inside, noised):
    torch.manual_seed(0)
    inside(diffusion_gan, width=4, levels=9)["judge"](torch.zeros(200_000, 2))
    ((_, t, _),) = noised
    assert t.dtype == torch.long and t.min() == 0 and t.max() == 9
    torch.testing.assert_close(t.bincount() / len(t), torch.full((10,), 0.1), atol=0.005, rtol=0)


@pytest.mark.parametrize("kind", ["points", "images"])
def test_real_and_fake_get_levels_in_the_same_way_and_the_discriminator_is_told(kind, inside, tiny_images, noised):
    """In D's step, and fake in G's: each has a draw of its own, from one distribution."""
    seen = []
    local = inside(diffusion_gan, levels=20, **(tiny_images if kind == "images" else {"width": 8}))
    local["D"].register_forward_pre_hook(lambda D, words: seen.append(words))
    local["update"]()
    (real, t_real, _), (fake, t_fake, _), (fake_again, t_again, _) = noised
    assert not torch.equal(t_real, t_fake) and not torch.equal(t_fake, t_again)
    assert [x.requires_grad for x in (real, fake, fake_again)] == [False, False, True]
    for (_, t, x_t), (x, level) in zip(noised, seen, strict=True):
        assert x is x_t and level.shape == (local["args"].batch_size,)
        torch.testing.assert_close(level, t / 20)
    noised.clear()
    for _ in range(300):
        local["d_step"]()
    n = sum(len(t) for _, t, _ in noised) / 2
    counts = [torch.cat([t for _, t, _ in noised[start::2]]).bincount(minlength=21) for start in (0, 1)]
    for count in counts:
        assert ((count / n - 1 / 21).abs() < 5 * (1 / 21 / n) ** 0.5).all()


def test_generator_learns_through_the_noise(inside):
    """Its gradient is that of the loss at the noised samples."""
    local = inside(diffusion_gan, width=8, levels=20)
    args, weights = local["args"], [*local["G"].parameters()]
    torch.manual_seed(0)
    fake = local["G"](torch.randn(args.batch_size, args.z_dim))
    t = torch.randint(21, (len(fake),))
    a = alphas_bar(20)[t].view(-1, 1)
    x_t = a.sqrt() * fake + (1 - a).sqrt() * args.sigma * torch.randn_like(fake)
    loss = F.softplus(-local["D"](x_t, t / 20)).mean()
    expected = [*torch.autograd.grad(loss, weights)]
    torch.manual_seed(0)
    local["g_step"]()
    torch.testing.assert_close([p.grad for p in weights], expected)
    assert max(grad.abs().max() for grad in expected) > 0


@pytest.mark.parametrize("shape", [(2,), (3, 16, 16)])
def test_discriminator_depends_on_the_level(shape):
    torch.manual_seed(0)
    D, x = diffusion_gan.Discriminator(shape, 8), torch.randn(4, *shape)
    assert torch.equal(D(x), D(x, torch.zeros(4)))  # without a level: x has no noise
    assert ((D(x, torch.ones(4)) - D(x)).abs() > 1e-6).all()
    mixed = D(x, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(mixed[::2], D(x)[::2])
    torch.testing.assert_close(mixed[1::2], D(x, torch.ones(4))[1::2])
    assert list(inspect.signature(D.forward).parameters) == ["x", "level"]
