"""How every command of scripts/ begins and ends."""

import sys
from collections.abc import Callable

import tyro

if __name__ == "__main__":
    print("this is a library of the commands in scripts/", file=sys.stderr)
    raise SystemExit(2)

from common.args import RunError


def command(main: Callable, Args: type, doc: str) -> None:
    """Calls main with the Args of the command line. A RunError becomes one line on stderr, and exit status 1."""
    args = tyro.cli(tyro.conf.FlagCreatePairsOff[Args], description=doc.partition("\n")[0])
    try:
        main(args)
    except RunError as error:
        sys.exit(str(error) or 1)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell has it for Ctrl-C
