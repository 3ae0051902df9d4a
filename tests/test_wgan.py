"""Weight clipping: on D, on all of it, and before anything is computed with it."""

import torch
from conftest import ALGOS, discriminators
from torch import nn

from scripts.lib.inside import inside

wgan = ALGOS["wgan"]


def test_clip_weights():
    D = nn.Linear(3, 1)
    with torch.no_grad():
        D.weight.copy_(torch.tensor([[-0.3, 0.05, 0.3]]))
        D.bias.fill_(-7)
    wgan.clip_weights(D, 0.1)
    torch.testing.assert_close(D.weight.detach(), torch.tensor([[-0.1, 0.05, 0.1]]))
    assert D.bias.item() == -torch.tensor(0.1).item() and D.weight.requires_grad


def test_no_weight_of_the_critic_ever_exceeds_c():
    """At every use of D, the first one and G's step included; G's own weights are free."""
    local, uses = inside(wgan, clip=0.01, lr=0.01), []
    (D,) = discriminators(local)
    D.register_forward_pre_hook(lambda D, _: uses.append(max(p.abs().max().item() for p in D.parameters())))
    for _ in range(5):
        local["update"]()
    limit = torch.tensor(0.01).item()
    assert len(uses) == 5 * (5 * 2 + 1) and max(uses) <= limit
    assert max(p.abs().max().item() for p in D.parameters()) == limit  # and it is the clipping that holds them
    assert max(p.abs().max().item() for p in local["G"].parameters()) > 0.1


def test_optimiser_is_rmsprop_without_momentum():
    local = inside(wgan)
    for name in ("g_opt", "d_opt"):
        assert type(local[name]) is torch.optim.RMSprop and local[name].param_groups[0]["momentum"] == 0
