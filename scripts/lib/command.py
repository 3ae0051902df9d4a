"""How every command of scripts/ begins and ends."""

from collections.abc import Callable

import tyro

if __name__ == "__main__":
    raise SystemExit("this is a library of the commands in scripts/")

from common.args import one_line


def command(main: Callable, Args: type, doc: str) -> None:
    """Calls main with the Args of the command line, and ends as the files of algos/ do."""
    with one_line():
        main(tyro.cli(tyro.conf.FlagCreatePairsOff[Args], description=doc.partition("\n")[0]))
