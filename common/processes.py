"""One run in several processes, as torchrun starts them: what they must agree on. In one process nothing happens here.

    torchrun --nproc-per-node=8 algos/wgan_gp.py --lambda 10

Every process has the same weights and its own share of the batch. Gradients are averaged explicitly: wrapping D in
DistributedDataParallel is wrong, at times without a word, for penalties and for several backward passes.
"""

import atexit
import os
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from common.args import RunError

STARTED = dist.is_available() and dist.is_torchelastic_launched()  # by torchrun
WORLD = int(os.environ["WORLD_SIZE"]) if STARTED else 1  # the number of processes
RANK = int(os.environ["RANK"]) if STARTED else 0  # which of them this is; the first writes the files


def connect(device: str) -> str:
    """Joins the other processes, and returns the device of this one: of several GPUs the one of its own."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        here = int(os.environ["LOCAL_RANK"])
        if device != "cuda" or here >= torch.cuda.device_count():
            gpus = torch.cuda.device_count()
            raise RunError(
                f"--device {device}: process {here} needs a GPU of its own, there are {gpus}; say cuda or cpu"
            )
        device = f"cuda:{here}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():  # long, as the first process may have to download or decode the data
        dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=timedelta(hours=12))
        atexit.register(disconnect)  # not at the end of a run: the next one in this program needs the others again
    return device


class Mean(torch.autograd.Function):
    """The mean over the processes of a tensor, and in the backward pass of its gradient: exact at any order."""

    @staticmethod
    def forward(ctx, x):
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x / WORLD

    @staticmethod
    def backward(ctx, grad):
        return Mean.apply(grad)


def mean(x: Tensor) -> Tensor:
    """The mean over the processes of a tensor that each has, to be differentiated through."""
    return Mean.apply(x) if WORLD > 1 else x


@torch.no_grad()
def average_gradients(optimizer: torch.optim.Optimizer, *_) -> None:
    """Makes each gradient its mean over the processes. A hook before an optimiser's step, so after its backward."""
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    flat = mean(torch.cat([grad.flatten() for grad in grads]))
    for grad, averaged in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(averaged.view_as(grad))


def agree(find):
    """What find() gives in the first process, for all: also if it raises RunError, whose text only the first has."""
    if WORLD == 1:
        return find()
    found = [None]
    if RANK == 0:
        try:
            found = [find()]
        except RunError as error:
            found = [error]
    dist.broadcast_object_list(found)
    dist.barrier()  # or the first process may be gone before the others know
    if isinstance(found[0], RunError):
        raise found[0] if RANK == 0 else RunError()
    return found[0]


def any_of(flag: int, device: torch.device) -> int:
    """The largest of the processes' flags."""
    if WORLD > 1:
        flags = torch.tensor(flag, device=device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        flag = int(flags)
    return flag


def all_of(x: Tensor) -> list[Tensor]:
    """A CPU tensor of each process, in the order of the processes."""
    if WORLD == 1:
        return [x]
    found: list[Tensor | None] = [None] * WORLD
    dist.all_gather_object(found, x)
    return found


def wait() -> None:
    """Until all are here."""
    if WORLD > 1:
        dist.barrier()


def disconnect() -> None:
    if WORLD > 1 and dist.is_initialized():
        time.sleep(
            0.2
        )  # gloo's threads may still hold tensors of the last call; without Python to free them they abort
        dist.destroy_process_group()
