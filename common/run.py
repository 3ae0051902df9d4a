"""The bookkeeping of one training run: folder, log, pictures, checkpoints, resume, W&B, CUDA graph."""

import contextlib
import hashlib
import io
import itertools
import json
import math
import os
import secrets
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from common import processes
from common.args import RunError, check
from common.data import load_data, own_data
from common.device import captured, environment, pick_device, settings
from common.draw import draw, encode, film
from common.metrics import evaluate
from common.processes import RANK, WORLD

MAY_DIFFER = ("resume", "track", "quiet", "device", "out")  # between a run and its resumption


class Run:
    """One training run of the algorithm `file` with its Args, which are checked here.

    data: own data, as common.data.own_data takes them; args.dataset then only names the settings.
    Raises RunError for bad input, a number that is not finite and a full disk. Ctrl-C and SIGTERM let an update end
    and save a checkpoint; then they raise KeyboardInterrupt and SystemExit.
    """

    Error = RunError

    def __init__(self, file: str, args, data=None):
        self.algo, self.args, self.name = Path(file).stem, args, args.dataset if data is None else "own"
        self.seconds, self.wandb, self.lock, self.bar = 0.0, None, None, None
        self.title = f"{self.algo} on {self.name}" + (" data" if data is not None else "")
        check(args)
        if args.batch_size % WORLD:
            raise RunError(f"--batch-size {args.batch_size}: must be divisible by the {WORLD} processes")
        self.batch_size = args.batch_size // WORLD  # samples of this process
        self.mean = processes.mean  # over the processes
        self.device = pick_device(processes.connect(args.device) if WORLD > 1 else args.device)
        torch.manual_seed(args.seed)
        if data is None:
            data = load_data(args.dataset, args.data_root, args.image_size, self.device)
        self.data = own_data(data, self.device)
        self.points = self.data.shape == (2,)
        if self.points != (args.dataset in ("ring", "grid")):
            kind, instead = ("points", "ring") if self.points else ("images", "folder")
            raise RunError(f"the data are {kind}, but dataset={args.dataset!r} has other settings: say {instead!r}")
        if self.points and args.amp:
            raise RunError("--amp: for images; near 2 bfloat16's steps are 1/64, as wide as the modes of the points")
        self.settings = {name: value for name, value in asdict(args).items() if name not in MAY_DIFFER}
        self.folder, self.finished = processes.agree(self._find_folder)

    def prepare(self, network: nn.Module) -> nn.Module:
        """The network on the run's device, channels last; with --amp its products in bfloat16, its output in float32.

        A context for each forward: within one, weights once cast would be used again, stale after an update, or
        without a gradient after torch.no_grad(). Its price is to cast them for each forward.
        """
        network = network.to(self.device, memory_format=torch.channels_last)
        if self.args.amp:
            forward = torch.autocast(self.device.type, torch.bfloat16)(network.forward)
            network.forward = lambda *inputs: forward(*inputs).float()
        return network

    def graph(self, update):
        """On a GPU: `update` as one CUDA graph, see common/device.py. Else itself: on a CPU, with --no-graph, in
        several processes, and where data come from the host."""
        here = self.device.type == "cuda" and WORLD == 1 and getattr(self.data, "on_device", False)
        return captured(update) if here and self.args.graph else update

    def steps(self, **state):
        """Yields 1, 2, ..., args.steps; a resumed run goes on after its checkpoint, a finished one has no steps.

        state: all that training changes, by name: modules, optimisers, tensors. It is saved together with the
        random states every args.checkpoint_every steps, at the end, and when Ctrl-C or SIGTERM stops the run.
        """
        from tqdm import tqdm

        self.z = torch.randn(2500 if self.points else 1000, self.args.z_dim, device=self.device)  # of all measurements
        if self.finished:
            self._say(f"{self.folder} is finished: nothing to resume")
            return
        for optimizer in state.values() if WORLD > 1 else ():
            if isinstance(optimizer, torch.optim.Optimizer):
                optimizer.register_step_pre_hook(processes.average_gradients)
        try:
            with settings(self.device, self.points), self._signals():
                done, self.folder = processes.agree(lambda: (self._start(state), self.folder))
                if RANK and done:
                    self._load(self.folder / "checkpoint.pt", state)
                elif WORLD > 1 and not done:
                    self._seed(0)
                hidden = True if RANK or self.args.quiet else None  # None: but on a terminal
                form = "{percentage:3.0f} % |{bar}| {n_fmt} of {total_fmt} updates, {remaining} left"
                with tqdm(
                    total=self.args.steps, initial=done, disable=hidden, bar_format=form, leave=False
                ) as self.bar:
                    yield from self._loop(done, state)
        except BaseException:
            self._release()
            raise
        finally:
            self.bar = None

    def _loop(self, done: int, state: dict):
        self.logged, before, told, last = (done, time.perf_counter()), self.seconds, False, self.args.steps
        start = self.logged[1]
        for step in range(done + 1, last + 1):
            yield step
            self.bar.update()
            passed, stop = time.perf_counter() - start, self.stopped
            self.seconds = before + passed
            if not told and passed > 5:  # seconds, so that a slow run soon says how long it will take
                rate, told = (step - done) / passed, True
                self._say(f"{rate:.3g} updates a second: about {(last - step) / rate / 60:.1f} min to go")
            if WORLD > 1:  # all stop after the same step
                stop = processes.any_of(stop, self.device) if step % 10 == 0 else 0
            if stop or step % self.args.checkpoint_every == 0 or step == last:
                self._save(step, state)
            if stop:
                processes.wait()  # for the first one's checkpoint
                self._say(f"stopped after step {step}; the same command with --resume goes on from there")
                raise KeyboardInterrupt if stop == signal.SIGINT else SystemExit(128 + stop)

    def log(self, step: int, numbers: dict, G: nn.Module) -> None:
        """Every args.log_every steps, and at the last: writes the numbers, measurements and a picture of G's samples.

        numbers: floats, or tensors, of which the mean is written. RunError if one is not finite: the last checkpoint
        stays.
        """
        if RANK or (step % self.args.log_every and step != self.args.steps):
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        speed = (step - self.logged[0]) / (time.perf_counter() - self.logged[1])
        fake = self._samples(G)
        g_grad = nn.utils.get_total_norm([p.grad for p in G.parameters()])
        numbers = {**numbers, "g_grad": g_grad, **evaluate(self.data, fake), "steps_per_second": speed}
        numbers = {k: v.mean().item() if isinstance(v, Tensor) else v for k, v in numbers.items()}
        bad = {k: v for k, v in numbers.items() if v is not None and not math.isfinite(v)}
        row = {"step": step, **{k: None if k in bad else v for k, v in numbers.items()}}
        self._write("metrics.jsonl", (json.dumps(row) + "\n").encode(), append=True)
        if bad:
            self._diverged(step, "  ".join(f"{k} {v}" for k, v in bad.items()))
        picture = draw(self.data, fake, f"{self.title}, step {step}", numbers)
        self._write(f"samples/{step:06d}.png", encode(picture, "PNG"))
        if self.wandb:
            import wandb

            self.wandb.log({**numbers, "samples": wandb.Image(picture)}, step=step)
        self._say(short_line(step, numbers))
        self.logged = step, time.perf_counter()

    def finish(self, G: nn.Module) -> dict:
        """Writes result.json and, for points, training.gif; prints the measurements beside an exact sampler's.

        Returns the last row of the log and the last measurements, in `folder` the run's folder.
        """
        return processes.agree(lambda: self._result(G)) | {"folder": str(self.folder)}

    def _result(self, G: nn.Module) -> dict:
        if self.finished:
            everything = read_json(self.folder / "result.json")
            return {k: v for k, v in everything.items() if k not in ("seconds", "exact_sampler")}
        with settings(self.device, self.points):
            fake = self._samples(G)
            numbers = evaluate(self.data, fake, final=True)
            exact = evaluate(self.data, self.data.sample(len(fake)), final=True)
        result = json.loads((self.folder / "metrics.jsonl").read_text().splitlines()[-1]) | numbers
        if self.points:
            files = sorted((self.folder / "samples").glob("*.png"), key=lambda file: int(file.stem))
            self._write("training.gif", film(files))
        everything = {**result, "seconds": self.seconds, "exact_sampler": exact}
        self._write("result.json", json.dumps(everything, indent=2).encode())
        self._release()
        self._say(f"{self.title}: {self.args.steps} steps in {self.seconds:.0f} s")
        for name, value in numbers.items():
            value = "-" if value is None else f"{value:.4g}"
            self._say(f"  {name:<14}{value:<10}(an exact sampler: {exact[name]:.4g})")
        self._say(f"numbers, pictures and checkpoint: {self.folder}")
        if self.wandb:
            self.wandb.summary.update(numbers)
            self.wandb.finish()
        return result

    @torch.no_grad()
    def _samples(self, G: nn.Module) -> Tensor:
        """Samples of G, always from the same noise."""
        G.eval()
        fake = torch.cat([G(z) for z in self.z.split(500)])
        G.train()
        return fake

    def _say(self, line: str) -> None:
        if not RANK and not self.args.quiet:
            on_terminal = self.bar is not None and not self.bar.disable
            self.bar.write(line) if on_terminal else print(line, flush=True)  # above the bar

    def _find_folder(self) -> tuple[Path, bool]:
        """A new folder's name, or with --resume that of an old run of the same arguments; and whether that is finished.

        The newest unfinished one before a finished one. A run whose learning rate does not fall can be made longer.
        """
        out, name = Path(self.args.out), f"{self.algo}-{self.name}-s{self.args.seed}"
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"--out {out} cannot be written to: {error.strerror}") from None
        folders = (out / (name if n == 1 else f"{name}-{n}") for n in itertools.count(1))
        old = [*itertools.takewhile(Path.exists, folders)]
        new = out / (f"{name}-{len(old) + 1}" if old else name)
        default = asdict(type(self.args)(dataset=self.args.dataset))  # of options that came after a run
        found = {"shorter": [], "finished": [], "unfinished": []}
        for folder in old if self.args.resume else ():
            args = default | read_json(folder / "config.json").get("args", {"seed": None})
            if all(args[n] == value for n, value in self.settings.items() if n != "steps"):
                ended = "finished" if (folder / "result.json").exists() else "unfinished"
                kind = ended if args["steps"] == self.args.steps else "shorter"
                found[kind] += [folder] if args["steps"] <= self.args.steps else []
        if self.args.lr_decay and (shorter := found.pop("shorter")) and not any(found.values()):
            why = "ended with a learning rate of zero, a longer run has another one from the first step"
            self._say(f"{shorter[-1]} had fewer --steps and {why}: it begins in {new}")
        chosen = [folder for folders in found.values() for folder in folders] or [new]
        return chosen[-1], chosen[-1] in found["finished"]

    def _start(self, state: dict) -> int:
        """Makes a new run's folder, or loads an old one's checkpoint. Returns the number of steps done."""
        done, rows = 0, self.folder / "metrics.jsonl"
        try:
            (self.folder / "samples").mkdir(parents=True, exist_ok=self.args.resume)
        except FileExistsError:  # another run took the name since
            self.folder, _ = self._find_folder()
            return self._start(state)
        except OSError as error:
            raise RunError(f"{self.folder} cannot be made: {error.strerror}") from None
        self._lock()
        config = {"args": self.settings, "command": sys.argv, "id": secrets.token_hex(4), "shape": self.data.shape}
        if self.args.resume and (self.folder / "checkpoint.pt").exists():
            done = self._load(self.folder / "checkpoint.pt", state)
            self._say(f"{self.title}: resumed after step {done} of {self.args.steps}, {self.folder}")
            config = read_json(self.folder / "config.json") | {"args": self.settings}
            (self.folder / "result.json").unlink(missing_ok=True)  # of the run before it was made longer
        else:
            config |= environment(self.device)
            self._say(f"{self.title}: {self.args.steps} steps on {self.device}, {self.folder}")
        self._write("config.json", json.dumps(config, indent=2).encode())
        kept = rows.read_text().splitlines(keepends=True) if rows.exists() else []
        kept = [row for row in kept if row.endswith("}\n") and json.loads(row)["step"] <= done]
        self._write("metrics.jsonl", "".join(kept).encode())  # those after the checkpoint will come again
        if self.args.track:
            import wandb

            names = {"project": "cleangan", "name": self.folder.name, "id": config["id"], "resume": "allow"}
            try:
                self.wandb = wandb.init(**names, dir=self.folder, config=config["args"])
            except wandb.errors.Error as error:
                hint = "`wandb login` once, or WANDB_MODE=offline before the command, or no --track"
                raise RunError(f"{error}\n{hint}") from None
        return done

    def _lock(self) -> None:
        """Raises RunError if another process trains in the folder. The lock ends with the process, however it ends."""
        self.lock = FileLock(self.folder / ".lock", timeout=0, thread_local=False, is_singleton=True)
        with contextlib.suppress(NotImplementedError):  # a file system without locks
            try:
                self.lock.acquire()
            except Timeout:
                self.lock = None  # it is the other one's, not to be released here
                raise RunError(f"{self.folder} is being trained by another process") from None

    def _release(self) -> None:
        if self.lock:
            self.lock.release()
            Path(self.lock.lock_file).unlink(missing_ok=True)
            self.lock = None

    def _save(self, step: int, state: dict) -> None:
        saved = {"algo": self.algo, "step": step, "seconds": self.seconds}
        saved["state"] = {k: v if isinstance(v, Tensor) else v.state_dict() for k, v in state.items()}
        for name, part in saved["state"].items():
            if not all(leaf.isfinite().all() for leaf in tree_leaves(part) if isinstance(leaf, Tensor)):
                self._diverged(step, f"{name} is not finite")
        saved["rng"] = processes.all_of(torch.get_rng_state())
        if self.device.type == "cuda":
            saved["cuda_rng"] = processes.all_of(torch.cuda.get_rng_state(self.device))
        buffer = io.BytesIO()
        torch.save(saved, buffer)
        if not RANK:
            self._write("checkpoint.pt", buffer.getvalue())

    def _load(self, path: Path, state: dict) -> int:
        try:
            saved = torch.load(path, map_location=self.device, weights_only=True)
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
            raise RunError(f"{path} is damaged or foreign ({reason}); without it, --resume starts anew") from None

    def _seed(self, step: int) -> None:
        """Random numbers of this process's own."""
        digest = hashlib.sha256(repr((self.args.seed, step, WORLD, RANK)).encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:4], "big"))

    def _write(self, name: str, content: bytes, append: bool = False) -> None:
        """Writes a whole file, or nothing: no name ever stands for half of its content. Of rows the last may be cut."""
        path = self.folder / name
        written = path if append else path.with_name(f"{path.name}.tmp")
        try:
            with open(written, "ab" if append else "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # rows are on the disk before the checkpoint that follows them
            os.replace(written, path)
        except OSError as error:
            if not append:
                written.unlink(missing_ok=True)
            raise RunError(f"{path} cannot be written: {error.strerror}; --resume goes on later") from None

    def _diverged(self, step: int, what: str) -> None:
        kept = "the last good checkpoint is" if (self.folder / "checkpoint.pt").exists() else "no checkpoint yet"
        hint = "try a lower --lr, a lower --beta1, more --d-steps or another --seed"
        raise RunError("" if RANK else f"{self.title} diverged by step {step}: {what}\n{hint}; {kept} in {self.folder}")

    @contextlib.contextmanager
    def _signals(self):
        """Ctrl-C and SIGTERM let the loop finish its step; a second one ends the program at once."""

        def note(number, frame):
            self.stopped = number
            if WORLD == 1:  # torchrun hands on what may have come from elsewhere too, and kills after a while
                signal.signal(number, old[number])

        self.stopped = 0
        main = threading.current_thread() is threading.main_thread()  # Python allows handlers only there
        old = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)} if main else {}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def short_line(step: int, numbers: dict) -> str:
    """The numbers that matter first, and as many of the others as fit into 80 columns."""
    first = [name for name in ("coverage", "high_quality", "swd", "d_loss", "g_loss") if name in numbers]
    line = f"step {step:>6}"
    for name in dict.fromkeys([*first, *numbers]):
        more = f"  {name} " + ("-" if numbers[name] is None else f"{numbers[name]:.3g}")
        line += more if len(line) + len(more) < 80 else ""
    return line


def read_json(path: Path) -> dict:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return {}
