"""Command lines from dataclasses, and a user's mistake answered in one line."""

import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from jaxdl.config import RunConfig
from jaxdl.determinism import make_deterministic

MISTAKES = (ValueError, OSError, FloatingPointError, ImportError, MemoryError)

Config = TypeVar("Config", bound=RunConfig)


def run_main(main: Callable[[Config], object], config_type: type[Config]) -> None:
    """Reads a configuration from the command line and calls `main` with it.

    Fields come from the defaults of `config_type`, then from the file that `--config`
    names, then from the command line. A mistake that a user can mend (a flag, a file, a
    value) ends the program with status 2 and one line on standard error; `--debug`
    shows the traceback instead.
    """
    import tyro

    # Modules live to the end: to look for garbage among them again and again, and once
    # more at exit, takes a tenth of a short program's time.
    gc.freeze()
    script = sys.modules["__main__"]
    spec = script.__spec__
    config = None
    try:
        config = tyro.cli(
            config_type,
            args=with_config_file(sys.argv[1:], spec.name if spec else ""),
            prog=f"python -m {spec.name}" if spec else None,
            description=script.__doc__,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        if config.deterministic:
            make_deterministic()
        with on_device(config.device):
            main(config)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except MISTAKES as error:
        if "--debug" in sys.argv or (config and config.debug):
            raise
        print(f"error: {error}  (--debug shows where)", file=sys.stderr)
        sys.exit(2)


def ask(what: str, answer: Callable[[str], object]) -> None:
    """Calls `answer` with each line of standard input, up to an empty one or the end.

    A ValueError is a mistake in that line: it is printed, and the next line is read.
    """
    print(f"{what}, one a line; an empty line ends", flush=True)
    for line in sys.stdin:
        if not line.strip():
            return
        try:
            answer(line.strip())
        except ValueError as error:
            print(f"error: {error}")


def on_device(name: str | None) -> AbstractContextManager[Any]:
    """Makes the device of that name the one that computes; None changes nothing.

    Raises ValueError where there is no such device.
    """
    if name is None:
        return nullcontext()
    import jax  # only now: --help does not wait for it

    from jaxdl.devices import find_device

    return jax.default_device(find_device(name))


def with_config_file(arguments: Sequence[str], program: str) -> list[str]:
    """Puts the settings of a file before the other arguments.

    The file is the one after `--config`, or that of the run after `--evaluate`. As
    flags they are checked like flags, and later ones override them. `program` is the
    module that runs.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no YAML or JSON, holds no names with values, or is that of a run
        of another lesson, which `--evaluate` cannot measure.
    """
    for flag, value in zip_longest(arguments, arguments[1:]):
        name, _, joined = flag.partition("=")
        if name in ("--config", "--evaluate") and (joined or value):
            path = Path(joined or str(value))
            file = path if name == "--config" else path / "config.yaml"
            settings = _read(name, file)
            lesson = str(settings.pop("lesson", ""))
            if name == "--evaluate":
                _check_lesson(path, lesson, "evaluate" in settings, program)
            return [*_flags(settings), *arguments]
    return list(arguments)


def _check_lesson(run: Path, lesson: str, measures: bool, program: str) -> None:
    """Raises ValueError where a module beside `program` wrote the run.

    A run may have a name that is none of a module: nothing is known of it then.
    """
    package, dot, _ = program.rpartition(".")
    writer = f"{package}{dot}{lesson}"
    if writer == program or not lesson.isidentifier() or not find_spec(writer):
        return
    how = f": python -m {writer} --evaluate {run}"
    raise ValueError(
        f"--evaluate {run} is a run of {writer}"
        + (how if measures else ", which has no --evaluate")
    )


def _read(source: str, path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"{source} {path} is no file")
    try:
        settings = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{source} {path} is no YAML or JSON: {reason}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{source} {path} holds no names with values")
    return settings


def _flags(settings: dict[str, Any]) -> list[str]:
    flags: list[str] = []
    for name, value in settings.items():
        if value is not None:  # null leaves the default, as the defaults do
            flags += _flag(f"--{str(name).replace('_', '-')}", value)
    return flags


def _flag(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag] if value else []
    values = value if isinstance(value, list) else [value]
    return [flag, *map(str, values)]
