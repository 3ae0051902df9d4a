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
    """Joins the other processes, if any, and returns the device of this one: of several GPUs the one of its own."""
    if WORLD == 1:
        return device
    here, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    if device != "cpu" and (device != "cuda" or here >= gpus):
        raise RunError(f"--device {device}: process {here} needs a GPU of its own, there are {gpus}; say cuda or cpu")
    if not dist.is_initialized():  # long, as the first process may have to download or decode the data
        dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=timedelta(hours=12))
        atexit.register(disconnect)  # not at the end of a run: the next one in this program needs the others again
    return device if device == "cpu" else f"cuda:{here}"


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
    try:
        found = [find() if RANK == 0 else None]
    except RunError as error:
        found = [error]
    dist.broadcast_object_list(found)
    dist.barrier()  # or the first process may be gone before the others know
    if isinstance(found[0], RunError):
        raise found[0] if RANK == 0 else RunError()
    return found[0]


def all_of(x) -> list:
    """The x of each process (a number, a CPU tensor), in the order of the processes."""
    found = [x] * WORLD
    if WORLD > 1:
        dist.all_gather_object(found, x)
    return found


def disconnect() -> None:
    """Leaves the others at the end of the program, if nobody has done so before."""
    if dist.is_initialized():
        time.sleep(0.2)  # gloo's threads may hold tensors of the last call, and abort without Python to free them
        dist.destroy_process_group()
