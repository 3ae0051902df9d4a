"""The command line of a file of algos/, the check of its arguments, and the error that a run ends with."""

import ast
import contextlib
import functools
import inspect
import itertools
import math
import os
import sys
from dataclasses import field, make_dataclass
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import tyro

RULES = {  # of a number by its name, or else by its type: what it must be, in words and as a function
    int: ("1 or more", lambda x: x >= 1),
    float: ("finite and not negative", lambda x: 0 <= x < math.inf),
    "lr": ("greater than 0 and at most 1", lambda x: 0 < x <= 1),
    "beta1": ("from 0 to less than 1", lambda x: 0 <= x < 1),
    "beta2": ("from 0 to less than 1", lambda x: 0 <= x < 1),
    "seed": ("from 0 to 2**32 - 1", lambda x: 0 <= x < 2**32),  # a CPU's random numbers depend on 32 bits
    "image_size": ("a power of two, 8 or more", lambda x: x >= 8 and x & (x - 1) == 0),
    "unroll_steps": ("0 or more", lambda x: x >= 0),
    **dict.fromkeys(("a", "b", "c"), ("finite", math.isfinite)),  # LSGAN's codes
}


class RunError(Exception):
    """A run cannot start or cannot go on: bad input, a number that is not finite, a full disk. Its text says why."""


def main(Args, train, doc: str) -> None:
    """The command of a file: trains as the command line says."""
    with one_line():
        train(parse(Args, doc))


@contextlib.contextmanager
def one_line():
    """How a command ends: a RunError, another error of the disk and too little memory become one line and status 1.

    Ctrl-C gives 130 and a reader that has gone, as of `| head`, 141, as in a shell, both without a word.
    """
    try:
        yield
        print(end="", flush=True)  # here, not at the exit, where an error would be shown
    except RunError as error:
        sys.exit(str(error) or 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.filename is None:  # of stdout, then: nobody reads on, or it is a file on a full disk
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is still to be flushed
        sys.exit(141 if isinstance(error, BrokenPipeError) else str(error))
    except (MemoryError, RuntimeError) as error:  # PyTorch's are RuntimeErrors, on a CPU of no kind of their own
        reason = (str(error).splitlines() or ["out of memory"])[0]
        if "out of memory" in reason or "allocate memory" in reason:
            sys.exit(f"{reason}\ntry a smaller --batch-size, --width or --image-size")
        raise


def parse(Args, doc: str = "", words: list[str] | None = None):
    """Args from the command line, or from `words`: --dataset decides the defaults, and flags override them.

    Two passes, so that --help shows the defaults of the data set that is named. Bad words end the program, as tyro's.
    """
    pairs_off = tyro.conf.FlagCreatePairsOff
    first, _ = tyro.cli(pairs_off[groups(Args)], args=words, add_help=False, return_unknown_args=True)
    both = tyro.cli(pairs_off[groups(Args, dataset=first.run.dataset)], args=words, description=doc.partition("\n")[0])
    return Args(**vars(both.run), **vars(both.algorithm))


@functools.cache  # most of the time of parsing thousands of commands
def groups(Args, **given) -> type:
    """A dataclass of two, for two groups in --help: fields of Args(**given) above `# the algorithm`, and below it."""
    args, source, types = Args(**given), inspect.getsource(Args), get_type_hints(Args, include_extras=True)
    above, run, algorithm = source.partition("# the algorithm")[0].count("\n"), [], []
    for item, text in itertools.pairwise(ast.parse(source).body[0].body):
        if isinstance(item, ast.AnnAssign):
            name = item.target.id
            hint = "" if types[name] is bool else None  # "(default: True)" beside --no-graph would mislead
            described = Annotated[types[name], tyro.conf.arg(help=text.value.value, help_behavior_hint=hint)]
            (run if item.lineno <= above else algorithm).append((name, described, getattr(args, name)))
    parts = []
    for name, fields, text in [
        ("run", run, "The same in every file."),
        ("algorithm", algorithm, "The defaults are those of the data set."),
    ]:
        part = make_dataclass(name, fields)
        described = Annotated[tyro.conf.OmitArgPrefixes[part], tyro.conf.arg(help=text)]
        parts.append((name, described, field(default_factory=part)))
    return make_dataclass("Args", parts)


def check(args) -> None:
    """Raises RunError for arguments with which nothing can run: those made in Python have not passed tyro."""
    for name, kind in get_type_hints(type(args)).items():
        value, choices = getattr(args, name), get_args(kind) if get_origin(kind) is Literal else ()
        accepted = {bool: bool, int: int, float: int | float, str: str}.get(kind, object)
        words, holds = RULES.get(name) or RULES.get(kind) or ("", lambda x: True)
        if choices and value not in choices:
            words = f"one of {', '.join(map(str, choices))}"
        elif not isinstance(value, accepted) or (isinstance(value, bool) and kind in (int, float)):
            words = f"of type {kind.__name__}"
        elif holds(value):
            continue
        raise RunError(f"--{name.rstrip('_').replace('_', '-')} {value}: must be {words}")
