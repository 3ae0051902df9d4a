"""The bookkeeping of one training run: folder, log, pictures, checkpoints, resume, W&B, CUDA graph."""

import contextlib
import hashlib
import io
import json
import math
import os
import secrets
import signal
import sys
import threading
import time
import zipfile
from dataclasses import asdict
from pathlib import Path
from types import MethodType

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

from common.args import RunError, check
from common.data import load_data, own_data
from common.device import captured, environment, has_bfloat16, pick_device, settings
from common.draw import draw, encode, film
from common.metrics import evaluate
from common.processes import RANK, WORLD, agree, all_of, average_gradients, connect, mean

MAY_DIFFER = ("resume", "track", "quiet", "device", "out")  # between a run and its resumption


class Run:
    """One training run of the algorithm `file` with its Args, which are checked here.

    data: own data, as common.data.own_data takes them; args.dataset then only names the settings.
    Raises RunError for bad input, a number that is not finite and a full disk. Ctrl-C and SIGTERM let an update end
    and save a checkpoint; then they raise KeyboardInterrupt and SystemExit.
    """

    Error = RunError

    def __init__(self, file: str, args, data=None):
        check(args)
        self.algo, self.args, self.name = Path(file).stem, args, args.dataset if data is None else "own"
        self.title = f"{self.algo} on {self.name}" + (" data" if data is not None else "")
        self.seconds, self.wandb = 0.0, None
        self.batch_size, rest = divmod(args.batch_size, WORLD)  # samples of this process
        if rest:
            raise RunError(f"--batch-size {args.batch_size}: must be divisible by the {WORLD} processes")
        self.mean = mean  # over the processes
        self.device = pick_device(connect(args.device))
        torch.manual_seed(args.seed)
        if data is None:
            data = load_data(args.dataset, args.data_root, args.image_size, self.device)
        self.data = own_data(data, self.device)
        self.points = self.data.shape == (2,)
        if self.points != (args.dataset in ("ring", "grid")):
            kind, instead = ("points", "ring") if self.points else ("images", "folder")
            raise RunError(f"the data are {kind}, but dataset={args.dataset!r} has other settings: say {instead!r}")
        # not for points: near 2 bfloat16's steps are 1/64, as wide as the modes
        self.amp = args.amp and not self.points and has_bfloat16(self.device)
        self.settings = {name: value for name, value in asdict(args).items() if name not in MAY_DIFFER}
        self.folder, self.finished = agree(self._find_folder)

    def prepare(self, network: nn.Module) -> nn.Module:
        """The network on the run's device, channels last; its products in bfloat16 where args.amp applies."""
        network = network.to(self.device, memory_format=torch.channels_last)
        if self.amp:
            network.forward = MethodType(in_bfloat16, network)  # bound, so that a copy of it uses its own weights
        return network

    def graph(self, update):
        """`update` as one CUDA graph; on a CPU, in several processes, with data on the host or --no-graph itself."""
        here = self.device.type == "cuda" and WORLD == 1 and getattr(self.data, "on_device", False)
        return captured(update) if here and self.args.graph else update

    def steps(self, **state):
        """Yields 1, 2, ..., args.steps; a resumed run goes on after its checkpoint, a finished one has no steps.

        state: all that training changes, by name: modules, optimisers, tensors. It is saved together with the random
        states every args.checkpoint_every steps, at the end, and when Ctrl-C or SIGTERM stops the run.
        """
        self.z = torch.randn(2500 if self.points else 1000, self.args.z_dim, device=self.device)  # of all measurements
        if self.finished:
            self._say(f"{self.folder} is finished: nothing to resume")
            return
        with settings(self.device, self.points), contextlib.ExitStack() as self.at_end:
            self._catch_signals()
            if WORLD > 1:
                self._seed(0)
                for part in state.values():
                    if isinstance(part, torch.optim.Optimizer):
                        part.register_step_pre_hook(average_gradients)
            done, self.folder = agree(lambda: (self._start(state), self.folder))
            if RANK and done:
                self._load(state)
            hidden = True if RANK or self.args.quiet else None  # None: hidden where there is no terminal
            form = "{percentage:3.0f} % |{bar}| {n_fmt} of {total_fmt} updates, {remaining} left"
            bar = {"initial": done, "total": self.args.steps, "disable": hidden, "bar_format": form, "leave": False}
            before, begin, told = self.seconds, time.perf_counter(), False
            self.logged = done, begin
            for step in tqdm(range(done + 1, self.args.steps + 1), **bar):
                yield step
                passed, stop = time.perf_counter() - begin, self.stopped
                self.seconds = before + passed
                if not told and passed > 5:  # seconds, so that a slow run soon says how long it will take
                    rate, told = (step - done) / passed, True
                    left = (self.args.steps - step) / rate
                    about = f"{left:.0f} s" if left < 120 else f"{left / 60:.1f} min"
                    if left > 5:
                        self._say(f"{rate:.3g} updates a second: about {about} to go")
                if WORLD > 1:  # all stop after the same step
                    stop = max(all_of(stop)) if step % 10 == 0 else 0
                if stop or step % self.args.checkpoint_every == 0 or step == self.args.steps:
                    self._save(step, state)
                if stop:
                    self._say(f"stopped after step {step}; the same command with --resume goes on from there")
                    raise KeyboardInterrupt if stop == signal.SIGINT else SystemExit(128 + stop)

    def log(self, step: int, numbers: dict, G: nn.Module) -> None:
        """Every args.log_every steps, and at the last: writes the numbers, measurements and a picture of G's samples.

        numbers: floats, or tensors, of which the mean is written. If one is not finite: RunError; checkpoints stay.
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
        row = {"step": step, **numbers, **dict.fromkeys(bad)}
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

        Returns what is in result.json, the last row of the log and the last measurements, and as `folder` the run's.
        """
        return agree(lambda: self._result(G)) | {"folder": str(self.folder)}

    def _result(self, G: nn.Module) -> dict:
        if self.finished:
            return read_json(self.folder / "result.json")
        with settings(self.device, self.points), contextlib.ExitStack() as self.at_end:
            self._lock()
            fake = self._samples(G)
            numbers = evaluate(self.data, fake, final=True)
            exact = evaluate(self.data, self.data.sample(len(fake)), final=True)
            result = json.loads((self.folder / "metrics.jsonl").read_text().splitlines()[-1]) | numbers
            result |= {"seconds": self.seconds, "exact_sampler": exact}
            pictures = sorted(self.folder.glob("samples/[0-9]*.png"), key=lambda file: int(file.stem))
            if self.points and pictures:  # somebody may have removed them
                self._write("training.gif", film(pictures))
            self._write("result.json", json.dumps(result, indent=2).encode())
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
            with tqdm.external_write_mode():  # above the bar
                print(line, flush=True)

    def _find_folder(self) -> tuple[Path, bool]:
        """A new folder's name, or with --resume that of an old run of the same arguments; and whether that is finished.

        The newest unfinished one, else the newest finished one, else, if the learning rate stays, a shorter run.
        """
        name, old = f"{self.algo}-{self.name}-s{self.args.seed}", []
        new = Path(self.args.out, name)
        while new.exists():
            old.append(new)
            new = Path(self.args.out, f"{name}-{len(old) + 1}")
        default = asdict(type(self.args)(dataset=self.args.dataset))  # of options that came after a run
        found = {0: new}  # the higher the better: 1 shorter, 2 finished, 3 unfinished; of each the newest
        for folder in old if self.args.resume else ():
            args = default | read_json(folder / "config.json").get("args", {"seed": None})
            more = self.args.steps - args["steps"]
            if more >= 0 and args | self.settings | {"steps": args["steps"]} == args:
                found[1 if more else 2 if (folder / "result.json").exists() else 3] = folder
        best = max(found)
        if best == 1 and self.args.lr_decay:
            why = "ended with a learning rate of zero, a longer run has another one from the first step"
            self._say(f"{found[1]} had fewer --steps and {why}: it begins in {new}")
            best = 0
        return found[best], best == 2

    def _start(self, state: dict) -> int:
        """Makes a new run's folder, or loads an old one's checkpoint. Returns the number of steps done."""
        try:
            (self.folder / "samples").mkdir(parents=True, exist_ok=self.args.resume)
        except OSError as error:
            before, (self.folder, _) = self.folder, self._find_folder()
            if isinstance(error, FileExistsError) and self.folder != before:  # another run took the name since
                return self._start(state)
            raise RunError(f"--out {self.args.out} cannot be written to: {error.strerror}") from None
        self._lock()
        config = {"args": self.settings, "data": self.name, "command": sys.argv, "id": secrets.token_hex(4)}
        config |= {"shape": self.data.shape, **environment(self.device)}
        done, begins, rows = 0, f"{self.args.steps} steps on {self.device}", self.folder / "metrics.jsonl"
        if (self.folder / "checkpoint.pt").exists():
            done = self._load(state)
            begins = f"resumed after step {done} of {self.args.steps}"
            config |= read_json(self.folder / "config.json") | {"args": self.settings}
            (self.folder / "result.json").unlink(missing_ok=True)  # of the run before it was made longer
        self._say(f"{self.title}: {begins}, {self.folder}")
        self._write("config.json", json.dumps(config, indent=2).encode())
        try:
            kept = rows.read_text().splitlines(keepends=True) if rows.exists() else []
            kept = [row for row in kept if row.endswith("}\n") and json.loads(row)["step"] <= done]
        except (ValueError, KeyError):
            raise RunError(f"{rows} is damaged: a row is no JSON; correct it or remove it") from None
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
        lock = FileLock(self.folder / ".lock", timeout=0, thread_local=False, is_singleton=True)
        try:
            lock.acquire()
        except Timeout:
            raise RunError(f"{self.folder} is being trained by another process") from None
        except (OSError, NotImplementedError):
            pass  # the file system has no locks: nobody can be kept out, and that is no reason not to train
        self.at_end.callback(Path(lock.lock_file).unlink, missing_ok=True)
        self.at_end.callback(lock.release)

    def _save(self, step: int, state: dict) -> None:
        saved = {"algo": self.algo, "step": step, "seconds": self.seconds, "rng": all_of(torch.get_rng_state())}
        if self.device.type == "cuda":
            saved["cuda_rng"] = all_of(torch.cuda.get_rng_state(self.device))
        saved["state"] = {k: v if isinstance(v, Tensor) else v.state_dict() for k, v in state.items()}
        for name, part in saved["state"].items():
            if not all(leaf.isfinite().all() for leaf in tree_leaves(part) if isinstance(leaf, Tensor)):
                self._diverged(step, f"{name} is not finite")
        buffer = io.BytesIO()
        torch.save(saved, buffer)
        agree(lambda: self._write("checkpoint.pt", buffer.getvalue()))

    def _load(self, state: dict) -> int:
        path = self.folder / "checkpoint.pt"
        try:
            saved = read_checkpoint(path.read_bytes(), self.device)
            if saved["algo"] != self.algo:
                raise ValueError(f"it is of {saved['algo']}.py")
            for name, part in state.items():
                options = getattr(part, "param_groups", None)
                load = part.copy_ if isinstance(part, Tensor) else part.load_state_dict
                load(saved["state"][name])
                if options:
                    part.param_groups = options  # with the caller's tensor lr, not a copy; and those of this device
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

    def _catch_signals(self) -> None:
        """Ctrl-C and SIGTERM let the loop finish its step; a second one ends the program at once."""

        def note(number, frame):
            self.stopped = number
            if WORLD == 1:  # torchrun hands on what may have come from elsewhere too, and kills after a while
                signal.signal(number, old[number])

        self.stopped, old = 0, {}
        if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
            for number in (signal.SIGINT, signal.SIGTERM):
                old[number] = signal.signal(number, note)
                self.at_end.callback(signal.signal, number, old[number])


def in_bfloat16(network: nn.Module, *inputs: Tensor) -> Tensor:
    """The network's forward pass with its products in bfloat16, its output in float32.

    A context for each forward: within one, weights once cast would be used again, stale after an update, or without a
    gradient after torch.no_grad(). Its price is to cast them for each forward.
    """
    with torch.autocast(inputs[0].device.type, torch.bfloat16):
        return type(network).forward(network, *inputs).float()


def short_line(step: int, numbers: dict) -> str:
    """The numbers that matter first, and as many of the others as fit into 80 columns."""
    first = [name for name in ("coverage", "high_quality", "swd", "d_loss", "g_loss") if name in numbers]
    line = f"step {step:>6}"
    for name in dict.fromkeys([*first, *numbers]):
        more = f"  {name} " + ("-" if numbers[name] is None else f"{numbers[name]:.3g}")
        line += more if len(line) + len(more) < 80 else ""
    return line


def read_checkpoint(content: bytes, device: torch.device) -> dict:
    """What a checkpoint.pt holds. Raises an Exception of nearly any kind if it is damaged."""
    if changed := zipfile.ZipFile(io.BytesIO(content)).testzip():  # torch.load does not see a flipped bit
        raise ValueError(f"{changed} is not what was written")
    return torch.load(io.BytesIO(content), map_location=device, weights_only=True)


def read_json(path: Path) -> dict:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return {}
