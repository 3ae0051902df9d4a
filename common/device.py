"""What depends on the machine: the device, PyTorch's settings for it, and an update as one CUDA graph."""

import contextlib
import gc
import os
import platform
import subprocess

import torch

from common.args import RunError
from common.processes import WORLD


def pick_device(name: str) -> torch.device:
    """The device of that name (auto: a GPU if there is one), made the current one. RunError if there is none."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        if torch.device(name).type not in ("cpu", "cuda"):
            raise RuntimeError("there are auto, cpu and cuda")
        device = torch.empty(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise RunError(f"--device {name}: not on this machine ({str(error).splitlines()[0]})") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor computes in bfloat16, and does not only imitate it, slowly."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def environment(device: torch.device) -> dict:
    """What else the numbers of a run depend on."""
    git = ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError):
        git = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    versions = {"python": platform.python_version(), "torch": torch.__version__, "git": git}
    return {**versions, "device": gpu or platform.machine(), "threads": torch.get_num_threads(), "processes": WORLD}


@contextlib.contextmanager
def settings(device: torch.device, points: bool):
    """What PyTorch keeps for the whole process, as a run needs it; put back at the end."""
    with contextlib.ExitStack() as stack:
        if points:  # for small matrices more threads are slower, and change the digits
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        if device.type == "cuda":
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest" if points else "high")  # TF32 is too coarse for points
            stack.callback(setattr, torch.backends.cudnn, "deterministic", torch.backends.cudnn.deterministic)
            torch.backends.cudnn.deterministic = True  # else a resumed run would differ from an unbroken one
        yield


def captured(update):
    """`update`, captured as one CUDA graph at its fourth call, then replayed. It returns {name: tensor}.

    The first three calls run as they are, and count: libraries initialise, optimisers make their state. Each replay
    draws new random numbers. What `update` reads from Python is frozen by the capture: what changes (the learning
    rate) must be a tensor.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()

    def detached():  # no autograd graph of an earlier update may live on into the capture
        return {name: number.detach() for name, number in update().items()}

    def calls():
        for _ in range(3):
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                numbers = detached()
            torch.cuda.current_stream().wait_stream(stream)
            yield numbers
        gc.collect()  # a dead graph that is freed during the capture would break it off
        with torch.cuda.graph(graph, stream=stream):
            numbers = detached()
        while True:
            graph.replay()
            yield numbers

    return calls().__next__
