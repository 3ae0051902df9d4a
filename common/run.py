"""The bookkeeping of one training run: folder, log, pictures, checkpoints, resume, W&B, CUDA graph."""

import contextlib
import errno
import gc
import hashlib
import io
import json
import math
import os
import platform
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.utils._pytree import tree_leaves

from common import processes
from common.processes import RANK, WORLD

AT_LEAST_ONE = {"steps", "batch_size", "d_steps", "width", "log_every", "checkpoint_every", "packing"}
ANY_SIGN = {"a", "b", "c"}  # LSGAN's codes
THREADS = torch.get_num_threads()
NO_ACCOUNT = """--track needs a Weights & Biases account, and none is set up here. Three ways forward:
  wandb login                      once, then the same command again
  WANDB_MODE=offline python ...    records here; `wandb sync` uploads it later
  leave --track out                all numbers and pictures are in the run's folder anyway"""


class Run:
    """One training run of the algorithm `file` with its Args, which are checked here.

    Bad input, a number that is not finite, a full disk and a signal end the program by SystemExit.
    """

    def __init__(self, file: str, args):
        self.algo, self.args, self.seconds, self.wandb = Path(file).stem, args, 0.0, None
        self.title = f"{self.algo} on {args.dataset}"
        check(args)
        if args.batch_size % WORLD:
            raise SystemExit(f"--batch-size {args.batch_size}: must be divisible by the {WORLD} processes")
        self.batch_size = args.batch_size // WORLD  # samples of this process
        self.mean = processes.mean  # over the processes
        self.device = pick_device(processes.connect(args.device) if WORLD > 1 else args.device)
        points = args.dataset in ("ring", "grid")
        if points and args.amp:
            raise SystemExit("--amp: for images; near 2 bfloat16's steps are 1/64, as wide as the modes of the points")
        torch.set_num_threads(1 if points else THREADS)  # for small matrices more are slower, and change the digits
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("highest" if points else "high")  # TF32 is too coarse for points
            torch.backends.cudnn.deterministic = True  # else a resumed run would differ from an unbroken one
        torch.manual_seed(args.seed)
        may_differ = ("resume", "track", "device", "out")  # between a run and its resumption
        self.settings = {name: value for name, value in asdict(args).items() if name not in may_differ}
        self.folder = processes.agree(self._find_folder)
        if args.track:
            processes.agree(self._account)

    def autocast(self, *networks) -> None:
        """With --amp: the products and convolutions of these networks in bfloat16, what they return in float32.

        A context for each forward: within one, weights once cast would be used again, stale after an update, or
        without a gradient after torch.no_grad(). Its price is to cast them for each forward.
        """
        for network in networks if self.args.amp else ():
            forward = torch.autocast(self.device.type, torch.bfloat16)(network.forward)
            network.forward = lambda *inputs, forward=forward: forward(*inputs).float()

    def graph(self, update):
        """On a GPU, with --graph: `update` captured as one CUDA graph at its fourth call, then replayed. Else: itself.

        The first three calls run as they are, and count: libraries initialise, optimisers make their state.
        Each replay draws new random numbers, as the device's generator counts on. What `update` reads from
        Python is frozen by the capture: whatever changes (the learning rate) must be a tensor on the device.
        """
        if self.device.type != "cuda" or not self.args.graph:
            return update
        if WORLD > 1:
            if RANK == 0:
                print("several processes: updates run without a CUDA graph")
            return update
        graph, stream, calls, outputs = torch.cuda.CUDAGraph(), torch.cuda.Stream(), 0, {}

        def detached():  # no autograd graph of an earlier update may live on into the capture
            return {name: number.detach() for name, number in update().items()}

        def replay():
            nonlocal calls, outputs
            calls += 1
            if calls <= 3:
                stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(stream):
                    outputs = detached()
                torch.cuda.current_stream().wait_stream(stream)
                return outputs
            if calls == 4:
                gc.collect()  # a dead graph that is freed during the capture would break it off
                with torch.cuda.graph(graph, stream=stream):
                    outputs = detached()
            graph.replay()
            return outputs

        return replay

    def steps(self, **state):
        """Yields 1, 2, ..., args.steps; a resumed run goes on after its checkpoint.

        state: all that training changes, by name: modules, optimisers, tensors. It is saved together with the
        random states every args.checkpoint_every steps, at the end, and when Ctrl-C or SIGTERM stops the run.
        """
        from tqdm import tqdm

        for optimizer in state.values() if WORLD > 1 else ():
            if isinstance(optimizer, torch.optim.Optimizer):
                optimizer.register_step_pre_hook(processes.average_gradients)
        done, self.folder = processes.agree(lambda: (self._start(state), self.folder))
        if RANK and done:
            self._load(self.folder / "checkpoint.pt", state)
        elif WORLD > 1 and not done:
            self._seed(0)
        begin = time.perf_counter() - self.seconds
        self.stopped, self.logged = 0, (done, time.perf_counter())
        with self._signals(), tqdm(total=self.args.steps, initial=done, disable=True if RANK else None) as self.bar:
            for step in range(done + 1, self.args.steps + 1):
                yield step
                self.bar.update()
                stop = self.stopped
                if WORLD > 1:  # all stop after the same step
                    stop = processes.any_of(stop, self.device) if step % 10 == 0 else 0
                if stop or step % self.args.checkpoint_every == 0 or step == self.args.steps:
                    self.seconds = time.perf_counter() - begin
                    self._save(step, state)
                if stop:
                    processes.wait()  # for the first one's checkpoint
                    self.bar.close()
                    if RANK == 0:
                        print(f"stopped after step {step}; the same command with --resume goes on from there")
                    raise SystemExit(128 + stop)

    def due(self, step: int) -> bool:
        """Whether this step is to be logged. If so, waits for the device and stops the clock."""
        if RANK or (step % self.args.log_every and step != self.args.steps):
            return False
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.speed = (step - self.logged[0]) / (time.perf_counter() - self.logged[1])
        return True

    def log(self, step: int, numbers: dict, data, fake: Tensor) -> None:
        """Writes the numbers (of a tensor: its mean) and a picture of the samples `fake`.

        Ends the run if a number is not finite; the last checkpoint stays.
        """
        numbers = {k: v.mean().item() if isinstance(v, Tensor) else v for k, v in numbers.items()}
        numbers["steps_per_second"] = self.speed
        row = {k: v if v is None or math.isfinite(v) else None for k, v in numbers.items()}
        self._write("metrics.jsonl", (json.dumps({"step": step, **row}) + "\n").encode(), append=True)
        line = "  ".join(f"{k} {'-' if v is None else format(v, '.3g')}" for k, v in numbers.items())
        if any(v is not None and not math.isfinite(v) for v in numbers.values()):
            self._diverged(step, line)
        picture = draw(data, fake, f"{self.title}, step {step}", numbers)
        self._write(f"samples/{step:06d}.png", encode(picture, "PNG"))
        if self.wandb:
            import wandb

            self.wandb.log({**numbers, "samples": wandb.Image(picture)}, step=step)
        self.bar.set_postfix_str(line)
        if self.bar.disable:
            print(f"step {step:>6}  {line}", flush=True)
        self.logged = step, time.perf_counter()

    def finish(self, numbers: dict, exact: dict) -> dict:
        """Writes result.json and, for points, training.gif; prints `numbers` beside an exact sampler's."""
        processes.disconnect()
        if RANK:
            return numbers
        result = json.loads((self.folder / "metrics.jsonl").read_text().splitlines()[-1]) | numbers
        if self.args.dataset in ("ring", "grid"):
            files = sorted((self.folder / "samples").glob("*.png"), key=lambda file: int(file.stem))
            self._write("training.gif", film(files))
        everything = {**result, "seconds": self.seconds, "exact_sampler": exact}
        self._write("result.json", json.dumps(everything, indent=2).encode())
        (self.folder / ".lock").unlink(missing_ok=True)
        print(f"{self.title}: {self.args.steps} steps in {self.seconds:.0f} s")
        for name, value in numbers.items():
            value = "-" if value is None else f"{value:.4g}"
            print(f"  {name:<14}{value:<10}(an exact sampler: {exact[name]:.4g})")
        print(f"numbers, pictures and checkpoint: {self.folder}")
        if self.wandb:
            self.wandb.summary.update(numbers)
            self.wandb.finish()
        return result

    def _account(self) -> None:
        """Ends the run if W&B would ask for an account."""
        import wandb

        if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.login(prompt=False, verify=False):
            raise SystemExit(NO_ACCOUNT)

    def _find_folder(self) -> Path:
        """A new folder's name, or with --resume the newest unfinished one that the same arguments made."""
        out, name = Path(self.args.out), f"{self.algo}-{self.args.dataset}-s{self.args.seed}"
        try:
            probe = out / f".{name}.{os.getpid()}"
            probe.mkdir(parents=True)
            probe.rmdir()
        except OSError as error:
            raise SystemExit(f"--out {out} cannot be written to: {error.strerror}") from None
        runs = {int(m[1] or 1): f for f in out.iterdir() if (m := re.fullmatch(rf"{name}(?:-(\d+))?", f.name))}
        new = {name: value for name, value in asdict(type(self.args)()).items() if name in self.settings}  # since then
        old = {n: read_json(runs[n] / "config.json").get("args") for n in sorted(runs)}
        same = [runs[n] for n, args in old.items() if args and new | args == self.settings]
        if self.args.resume and same:
            if unfinished := [folder for folder in same if not (folder / "result.json").exists()]:
                return unfinished[-1]
            print(f"{same[-1]} is finished: nothing to resume")
            raise SystemExit(0)
        return out / (f"{name}-{max(runs) + 1}" if runs else name)

    def _start(self, state: dict) -> int:
        """Makes a new run's folder, or loads an old one's checkpoint. Returns the number of steps done."""
        done, rows = 0, self.folder / "metrics.jsonl"
        try:
            (self.folder / "samples").mkdir(parents=True, exist_ok=self.args.resume)
        except FileExistsError:  # another run took the name since
            self.folder = self._find_folder()
            return self._start(state)
        except OSError as error:
            raise SystemExit(f"{self.folder} cannot be made: {error.strerror}") from None
        self._lock()
        if self.args.resume and (self.folder / "checkpoint.pt").exists():
            done = self._load(self.folder / "checkpoint.pt", state)
            print(f"{self.title}: resumed after step {done} of {self.args.steps}, {self.folder}", flush=True)
        else:
            config = {"args": self.settings, "command": sys.argv, "id": secrets.token_hex(4)}
            self._write("config.json", json.dumps(config | environment(self.device), indent=2).encode())
            print(f"{self.title}: {self.args.steps} steps on {self.device}, {self.folder}", flush=True)
        kept = rows.read_text().splitlines(keepends=True) if rows.exists() else []
        kept = [row for row in kept if row.endswith("}\n") and json.loads(row)["step"] <= done]
        self._write("metrics.jsonl", "".join(kept).encode())  # those after the checkpoint will come again
        if self.args.track:
            import wandb

            config = read_json(self.folder / "config.json")
            names = {"project": "cleangan", "name": self.folder.name, "id": config["id"], "resume": "allow"}
            try:
                self.wandb = wandb.init(**names, dir=self.folder, config=config["args"])
            except wandb.errors.Error as error:
                raise SystemExit(f"{error}\n{NO_ACCOUNT}") from None
        return done

    def _lock(self) -> None:
        """Ends the run if another process trains in its folder. The lock ends with the process, however that ends."""
        with contextlib.suppress(ImportError, OSError):  # no fcntl on Windows, no locks on some file systems
            import fcntl

            self.lock = open(self.folder / ".lock", "w")
            try:
                fcntl.lockf(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise SystemExit(f"{self.folder} is being trained by another process") from None

    def _save(self, step: int, state: dict) -> None:
        saved = {"algo": self.algo, "step": step, "seconds": self.seconds}
        saved["state"] = {k: v if isinstance(v, Tensor) else v.state_dict() for k, v in state.items()}
        for name, part in saved["state"].items():
            if not all(leaf.isfinite().all() for leaf in tree_leaves(part) if isinstance(leaf, Tensor)):
                self._diverged(step, f"{name} is not finite")
        saved["rng"] = processes.all_of(torch.get_rng_state())
        if self.device.type == "cuda":
            saved["cuda_rng"] = processes.all_of(torch.cuda.get_rng_state(self.device))
        if RANK:
            return
        buffer = io.BytesIO()
        torch.save(saved, buffer)
        self._write("checkpoint.pt", buffer.getvalue())

    def _load(self, path: Path, state: dict) -> int:
        try:
            saved = torch.load(path, map_location=self.device, weights_only=True)
            for name in ("rng", "cuda_rng"):
                if isinstance(saved.get(name), Tensor):  # as one process used to write it
                    saved[name] = [saved[name]]
            if saved["algo"] != self.algo:
                raise ValueError(f"it is of {saved['algo']}.py")
            for name, part in state.items():
                if isinstance(part, Tensor):
                    part.copy_(saved["state"][name])
                    continue
                ours = [(group["lr"], group["capturable"]) for group in getattr(part, "param_groups", [])]
                part.load_state_dict(saved["state"][name])
                for group, kept in zip(getattr(part, "param_groups", []), ours, strict=True):
                    group["lr"], group["capturable"] = kept  # the caller's tensor, not a copy; and of this device
            if WORLD > 1 or len(saved["rng"]) > 1:
                self._seed(saved["step"])  # stays so for another number of processes, or another kind of device
            if len(saved["rng"]) == WORLD:
                torch.set_rng_state(saved["rng"][RANK].cpu())
                if self.device.type == "cuda" and "cuda_rng" in saved:
                    torch.cuda.set_rng_state(saved["cuda_rng"][RANK].cpu(), self.device)
            self.seconds = saved["seconds"]
            return saved["step"]
        except Exception as error:  # a damaged or foreign file makes torch raise nearly anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise SystemExit(f"{path} is damaged or foreign ({reason}); without it, --resume starts anew") from None

    def _seed(self, step: int) -> None:
        """Random numbers of this process's own."""
        digest = hashlib.sha256(repr((self.args.seed, step, WORLD, RANK)).encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:4], "big"))

    def _write(self, name: str, content: bytes, append: bool = False) -> None:
        """Writes the whole file or the whole row, or nothing: no name ever stands for half of its content."""
        path = self.folder / name
        temporary = path.with_name(f"{path.name}.tmp")
        try:
            if append:
                with open(path, "ab", buffering=0) as file:
                    end = file.tell()
                    if file.write(content) < len(content):
                        file.truncate(end)
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file.fileno())  # on the disk before the checkpoint that follows it
            else:
                with open(temporary, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise SystemExit(f"{path} cannot be written: {error.strerror}; --resume goes on later") from None

    def _diverged(self, step: int, what: str) -> None:
        kept = "the last good checkpoint is" if (self.folder / "checkpoint.pt").exists() else "no checkpoint yet"
        hint = "try a lower --lr, a lower --beta1, more --d-steps or another --seed"
        if RANK:
            raise SystemExit(1)  # the first process says why
        raise SystemExit(f"{self.title} diverged by step {step}: {what}\n{hint}; {kept} in {self.folder}")

    @contextlib.contextmanager
    def _signals(self):
        """Ctrl-C and SIGTERM let the loop finish its step; a second one ends the program at once."""

        def note(number, frame):
            self.stopped = number
            if WORLD == 1:  # torchrun hands on what may have come from elsewhere too, and kills after a while
                signal.signal(number, old[number])

        main = threading.current_thread() is threading.main_thread()  # Python allows handlers only there
        old = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)} if main else {}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def check(args) -> None:
    """Refuses arguments with which nothing can run; made in Python, they have not passed tyro."""
    kinds = get_type_hints(type(args))
    for name, value in vars(args).items():
        kind, flag = kinds[name], f"--{name.rstrip('_').replace('_', '-')} {value}"
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise SystemExit(f"{flag}: must be one of {', '.join(map(str, get_args(kind)))}")
        fits = kind not in (bool, int, float, str) or isinstance(value, int | float if kind is float else kind)
        if not fits or isinstance(value, bool) != (kind is bool):
            raise SystemExit(f"{flag}: must be of type {kind.__name__}")
        if kind not in (int, float):
            continue
        wrong, rule = not math.isfinite(value) or value < 0, "finite and not negative"
        if name in ANY_SIGN:
            wrong, rule = not math.isfinite(value), "finite"
        elif name in AT_LEAST_ONE:
            wrong, rule = value < 1, "1 or more"
        elif name == "lr":
            wrong, rule = not 0 < value <= 1, "greater than 0 and at most 1"
        elif name == "seed":
            wrong, rule = not 0 <= value < 2**63, "from 0 to 2**63 - 1"
        elif name in ("beta1", "beta2"):
            wrong, rule = wrong or value >= 1, "from 0 to less than 1"
        elif name == "image_size":
            wrong, rule = value < 16 or value & (value - 1), "a power of two, 16 or more"
        if wrong:
            raise SystemExit(f"{flag}: must be {rule}")


def pick_device(name: str) -> torch.device:
    """The device of that name (auto: a GPU if there is one), made the current one. SystemExit if there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(name).type not in ("cpu", "cuda"):
            raise RuntimeError("there are auto, cpu and cuda")
        device = torch.empty(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise SystemExit(f"--device {name}: not on this machine ({str(error).splitlines()[0]})") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def environment(device: torch.device) -> dict:
    """What else the numbers of a run depend on."""
    git = ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError):
        git = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    versions = {"python": platform.python_version(), "torch": torch.__version__, "git": git}
    return {**versions, "device": gpu or platform.machine(), "threads": torch.get_num_threads(), "processes": WORLD}


def read_json(path: Path) -> dict:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return {}


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def film(files: list[Path]) -> bytes:
    """A GIF of these pictures, at most 200 of them; the last once more, for three seconds."""
    files = files[:: math.ceil(len(files) / 200)] + files[-1:]
    frames = (Image.open(file).copy() for file in files)
    wait = [150] * (len(files) - 1) + [3000]  # milliseconds
    return encode(next(frames), "GIF", save_all=True, append_images=frames, duration=wait, loop=0)


def as_bytes(images: Tensor) -> Tensor:
    """Pixels in [-1, 1] as uint8."""
    return images.add(1).mul(127.5).round().clamp(0, 255).byte()


def draw(data, fake: Tensor, title: str, numbers: dict) -> Image.Image:
    """Points: dots over rings at the true modes, green if covered, red if missed. Images: a grid of 64."""
    if data.shape != (2,):
        channels, size, _ = data.shape
        tiles = as_bytes(fake[:64]).cpu().view(8, 8, *data.shape)
        grid = tiles.permute(0, 3, 1, 4, 2).reshape(8 * size, 8 * size, channels)
        image = Image.fromarray(grid.squeeze(2).numpy())
        return image.resize((512, 512), Image.Resampling.NEAREST) if size < 64 else image
    side, top, modes, fake = 480, 44, data.modes.cpu(), fake.cpu()
    scale = side / (3.2 * modes.abs().max().item())
    share = torch.bincount(torch.cdist(fake, modes).argmin(dim=1), minlength=len(modes)) / len(fake)
    image = Image.new("RGB", (side, side + top), "white")
    canvas = ImageDraw.Draw(image)
    origin, upwards = torch.tensor([side / 2, side / 2 + top]), torch.tensor([scale, -scale])
    for center, mass in zip(modes * upwards + origin, share, strict=True):
        color = "green" if mass >= 0.1 / len(modes) else "red"
        canvas.circle(center.tolist(), max(9, 3 * data.std * scale), outline=color, width=2)
    for point in (fake * upwards + origin).tolist():
        canvas.circle(point, 1, fill="royalblue")
    found = f"{numbers['coverage']} of {len(modes)} modes covered, {numbers['high_quality']:.0%} of samples sharp"
    canvas.rectangle((0, 0, side, top), fill="whitesmoke")
    canvas.text((8, 3), f"{title}\n{found}", "black", ImageFont.load_default(15))
    return image
