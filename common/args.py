"""The command line of a file of algos/, the check of its arguments, and the error that a run ends with."""

import ast
import inspect
import itertools
import math
import sys
from dataclasses import field, make_dataclass
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

ANY_SIGN = {"a", "b", "c"}  # LSGAN's codes
ZERO = {"seed", "unroll_steps"}  # whole numbers that may be 0; all others are at least 1


class RunError(Exception):
    """A run cannot start or cannot go on: bad input, a number that is not finite, a full disk. Its text says why."""


def main(Args, train, doc: str) -> None:
    """The command of a file: trains as the command line says. A RunError becomes one line, and exit status 1."""
    try:
        train(parse(Args, doc))
    except RunError as error:
        sys.exit(str(error) or 1)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell has it for Ctrl-C


def parse(Args, doc: str = "", words: list[str] | None = None):
    """Args from the command line, or from `words`: --dataset decides the defaults, and flags override them.

    Two passes, so that --help shows the defaults of the data set that is named. Bad words end the program, as tyro's.
    """
    import tyro

    pairs_off = tyro.conf.FlagCreatePairsOff
    first, _ = tyro.cli(pairs_off[groups(Args())], args=words, add_help=False, return_unknown_args=True)
    args = Args(dataset=first.run.dataset)
    both = tyro.cli(pairs_off[groups(args)], args=words, description=doc.partition("\n")[0])
    return Args(**vars(both.run), **vars(both.algorithm))


def groups(args):
    """args as two nested dataclasses, for two groups in --help: before `# the algorithm`, and after."""
    import tyro

    kind = type(args)
    source, types = inspect.getsource(kind), get_type_hints(kind, include_extras=True)
    begin = source[: source.index("# the algorithm")].count("\n")
    parts = {"run": [], "algorithm": []}
    for item, text in itertools.pairwise(ast.parse(source).body[0].body):
        if isinstance(item, ast.AnnAssign):
            name = item.target.id
            hint = "" if types[name] is bool else None  # "(default: True)" beside --no-graph would mislead
            annotated = Annotated[types[name], tyro.conf.arg(help=text.value.value, help_behavior_hint=hint)]
            parts["run" if item.lineno <= begin else "algorithm"].append((name, annotated, getattr(args, name)))
    two = {name: make_dataclass(name, fields) for name, fields in parts.items()}
    two["run"].__doc__, two["algorithm"].__doc__ = "The same in every file.", "The defaults are those of the data set."
    return make_dataclass(
        "Args", [(name, tyro.conf.OmitArgPrefixes[part], field(default_factory=part)) for name, part in two.items()]
    )


def check(args) -> None:
    """Raises RunError for arguments with which nothing can run: those made in Python have not passed tyro."""
    kinds = get_type_hints(type(args))
    for name, value in vars(args).items():
        kind, flag = kinds[name], f"--{name.rstrip('_').replace('_', '-')} {value}"
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise RunError(f"{flag}: must be one of {', '.join(map(str, get_args(kind)))}")
        fits = kind not in (bool, int, float, str) or isinstance(value, int | float if kind is float else kind)
        if not fits or isinstance(value, bool) != (kind is bool):
            raise RunError(f"{flag}: must be of type {kind.__name__}")
        if kind not in (int, float):
            continue
        wrong, rule = not math.isfinite(value) or value < 0, "finite and not negative"
        if name in ANY_SIGN:
            wrong, rule = not math.isfinite(value), "finite"
        elif name == "lr":
            wrong, rule = not 0 < value <= 1, "greater than 0 and at most 1"
        elif name == "seed":
            wrong, rule = not 0 <= value < 2**63, "from 0 to 2**63 - 1"
        elif name in ("beta1", "beta2"):
            wrong, rule = wrong or value >= 1, "from 0 to less than 1"
        elif name == "image_size":
            wrong, rule = value < 16 or value & (value - 1), "a power of two, 16 or more"
        elif kind is int and name not in ZERO:
            wrong, rule = value < 1, "1 or more"
        if wrong:
            raise RunError(f"{flag}: must be {rule}")
