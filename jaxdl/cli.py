"""Command lines from dataclasses, and a user's mistake answered in one line."""

import sys
from collections.abc import Callable
from typing import TypeVar

from jaxdl.config import RunConfig
from jaxdl.determinism import make_deterministic

MISTAKES = (ValueError, OSError, FloatingPointError, ImportError, MemoryError)

Config = TypeVar("Config", bound=RunConfig)


def run_main(main: Callable[[Config], object], config_type: type[Config]) -> None:
    """Reads a configuration from the command line and calls `main` with it.

    A mistake that a user can mend (a flag, a file, a value) ends the program with
    status 2 and one line on standard error; `--debug` shows the traceback instead.
    """
    import tyro

    script = sys.modules["__main__"]
    spec = script.__spec__
    try:
        config = tyro.cli(
            config_type,
            prog=f"python -m {spec.name}" if spec else None,
            description=script.__doc__,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        if config.deterministic:
            make_deterministic()
        main(config)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except MISTAKES as error:
        if "--debug" in sys.argv:
            raise
        print(f"error: {error}  (--debug shows where)", file=sys.stderr)
        sys.exit(2)
