"""Denoising feature matching: what the denoiser learns, what it is to the score, and whom each loss reaches."""

import copy

import pytest
import torch
from conftest import ALGOS, weights
from torch import nn

dfm, nsgan = ALGOS["dfm"], ALGOS["nsgan"]
MEAN = torch.tensor([0.5, -1.0, 2.0])
ROOT_OF_S = torch.tensor([[1.5, 0.0, 0.0], [0.5, 0.4, 0.0], [-0.3, 0.2, 0.1]])
S = ROOT_OF_S @ ROOT_OF_S.T  # covariance of the Gaussian features


def gaussian(n):
    return MEAN + torch.randn(n, 3) @ ROOT_OF_S.T


def best(h):
    """r*(h) = E[f | f + n = h] = mu + S (S + I)^-1 (h - mu), of features f ~ N(mu, S) and noise n ~ N(0, I)."""
    return MEAN + (h - MEAN) @ torch.linalg.solve(S + torch.eye(3), S)


@pytest.fixture(scope="module")
def linear():
    """A linear denoiser, trained by denoiser_loss on Gaussian features."""
    torch.manual_seed(0)
    r = nn.Linear(3, 3)
    opt = torch.optim.Adam(r.parameters(), lr=0.05)
    for step in range(600):
        opt.param_groups[0]["lr"] = 0.05 * (1 - step / 600)
        opt.zero_grad()
        dfm.denoiser_loss(r, gaussian(2000)).backward()
        opt.step()
    return r


def test_denoiser_tends_to_the_conditional_mean(linear):
    h = gaussian(1000) + torch.randn(1000, 3)
    assert (linear(h) - best(h)).abs().mean() < 0.03
    assert (h - best(h)).abs().mean() > 0.3  # it is not the identity


def test_least_loss_is_the_conditional_variance(linear):
    """The mean over three features of the trace of S - S (S + I)^-1 S; the identity has 1, the noise's variance."""
    torch.manual_seed(1)
    f = gaussian(200_000)
    expected = torch.trace(S - S @ torch.linalg.solve(S + torch.eye(3), S)).item() / 3
    assert dfm.denoiser_loss(best, f).item() == pytest.approx(expected, abs=0.01)
    assert dfm.denoiser_loss(linear, f).item() == pytest.approx(expected, abs=0.01)
    assert dfm.denoiser_loss(nn.Identity(), f).item() == pytest.approx(1, abs=0.01)


def test_what_the_denoiser_adds_is_the_score_of_the_noisy_features(linear):
    """Alain & Bengio 2014: r*(h) - h = s^2 grad log p(h), s = 1; p = N(mu, S + I) is the density of f + n."""
    h = (gaussian(500) + torch.randn(500, 3)).requires_grad_()
    log_p = torch.distributions.MultivariateNormal(MEAN, S + torch.eye(3)).log_prob(h)
    (score,) = torch.autograd.grad(log_p.sum(), h)
    torch.testing.assert_close(best(h) - h, score, atol=1e-4, rtol=1e-3)
    assert torch.cosine_similarity((linear(h) - h).flatten(), score.flatten(), dim=0) > 0.995


def test_matching_moves_features_along_the_score():
    """Its gradient in f is 2 (f - r(f)) over the batch and the features: minus the score, where r is the best."""
    f = gaussian(50).requires_grad_()
    (slope,) = torch.autograd.grad(dfm.generator_loss(torch.zeros(50), f, best(f).detach(), 1.0), f)
    torch.testing.assert_close(slope, 2 * (f - best(f)) / 150)


def test_gradient_reaches_the_generator_through_the_features_only(inside):
    """By finite differences in one bias of G, in float64: with r's output frozen, and not with r moving along."""
    local = inside(dfm, width=8, seed=2, denoising=1.0)
    G, D, r = (local[name].double() for name in ("G", "D", "r"))
    z, bias = torch.randn(64, 2, dtype=torch.float64), G.net[-1].bias
    d, f = D(G(z), True).tensor_split([1], dim=1)
    frozen, found = r(f).detach(), {}
    (slopes,) = torch.autograd.grad(dfm.generator_loss(d, f, frozen, 1.0), bias)
    for name, denoised in [("frozen", lambda f: frozen), ("moving", r)]:
        values = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                bias[0] += step
                d, f = D(G(z), True).tensor_split([1], dim=1)
                values.append(dfm.generator_loss(d, f, denoised(f), 1.0).item())
        with torch.no_grad():
            bias[0] += 1e-6
        found[name] = (values[0] - values[1]) / 2e-6
    assert slopes[0].item() == pytest.approx(found["frozen"], rel=1e-5)
    assert abs(found["frozen"] - found["moving"]) > 1e-2 * abs(found["frozen"])


@pytest.fixture(params=["points", "images"])
def local(request, inside, tiny_images):
    return inside(dfm, seed=3, lr=1e-4, **(tiny_images if request.param == "images" else {"width": 16}))


def test_generator_step_is_both_losses_and_touches_neither_d_nor_r(local, tiny_images):
    D, r, r_state = weights(local["D"]), weights(local["r"]), copy.deepcopy(local["r_opt"].state_dict())
    args = local["args"]
    torch.manual_seed(0)
    out = local["D"](local["G"](torch.randn(args.batch_size, args.z_dim)), True)
    loss = nn.functional.softplus(-out[:, 0]).mean()
    loss = loss + 0.03 * (out[:, 1:] - local["r"](out[:, 1:]).detach()).square().mean()
    expected = [*torch.autograd.grad(loss, [*local["G"].parameters()])]
    torch.manual_seed(0)
    numbers = local["g_step"]()
    torch.testing.assert_close(numbers["g_loss"], loss)
    torch.testing.assert_close([p.grad for p in local["G"].parameters()], expected, atol=1e-6, rtol=1e-3)
    assert torch.equal(weights(local["D"]), D) and torch.equal(weights(local["r"]), r)
    assert all(p.grad is None for p in [*local["D"].parameters(), *local["r"].parameters()])
    assert local["r_opt"].state_dict() == r_state


def test_discriminator_does_not_learn_from_the_denoiser(local):
    """Its gradient is that of its own loss; the denoiser's is that of denoiser_loss on the features of real samples."""
    args, D, r = local["args"], local["D"], local["r"]
    torch.manual_seed(0)
    real = local["data"].sample(args.batch_size)
    with torch.no_grad():
        fake = local["G"](torch.randn(args.batch_size, args.z_dim))
    of_d = torch.autograd.grad(dfm.discriminator_loss(D(real), D(fake)), [*D.parameters()])
    of_r = torch.autograd.grad(dfm.denoiser_loss(r, D(real, True)[:, 1:].detach()), [*r.parameters()])
    before = weights(r)
    torch.manual_seed(0)
    local["d_step"]()
    torch.testing.assert_close([p.grad for p in D.parameters()], [*of_d], atol=1e-6, rtol=1e-3)
    torch.testing.assert_close([p.grad for p in r.parameters()], [*of_r], atol=1e-6, rtol=1e-3)
    assert not torch.equal(weights(r), before)


def test_denoiser_learns(local):
    first = local["d_step"]()["r_loss"].item()
    local["lr"].fill_(1e-3)
    for _ in range(100):
        last = local["d_step"]()["r_loss"].item()
    assert 0 < last < 0.8 * first and last < 1  # the identity has 1


@pytest.mark.parametrize("shape", [(2,), (3, 16, 16), (1, 32, 32)])
def test_features_have_a_scale_of_their_own(shape):
    """Mean 0 and variance 1 within each sample, whatever D's weights; the scores beside them are those without."""
    torch.manual_seed(0)
    D, x = dfm.Discriminator(shape, 8), 2 * torch.randn(4, *shape)
    with torch.no_grad():
        for p in D.net.parameters():
            p.mul_(3)
    out = D(x, True)
    assert out.shape == (4, 1 + D.score.in_features) and D.score.in_features >= 8
    torch.testing.assert_close(out[:, 0], D(x))
    torch.testing.assert_close(out[:, 1:].mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out[:, 1:].var(1, correction=0), torch.ones(4), atol=0.02, rtol=0)
    torch.testing.assert_close(D(x[:1], True), out[:1], atol=1e-5, rtol=1e-4)
    count = sum(p.numel() for p in nsgan.Discriminator(shape, 8).parameters())
    assert sum(p.numel() for p in D.parameters()) == count


def test_denoiser_and_its_optimiser_are_in_the_checkpoint(tmp_path):
    result = dfm.train(dfm.Args(steps=3, width=8, batch_size=8, device="cpu", out=str(tmp_path), quiet=True))
    saved = torch.load(f"{result['folder']}/checkpoint.pt", weights_only=True)["state"]
    assert set(saved["r"]) == set(dfm.denoiser(8).state_dict()) and len(saved["r_opt"]["state"]) == 6
