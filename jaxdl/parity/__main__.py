"""Compare a PyTorch model with its Flax twin, each made by a function.

    python -m jaxdl.parity package.module:torch_twin package.module:flax_twin \\
        --shape 4 32 32 3 --steps 10

Each function takes no arguments and returns a module. Status 0: they agree; 1: they
differ, and the report says where; 2: they could not be compared.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from jaxdl.parity.comparison import compare


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the report and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxdl.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("torch", help="package.module:function of the PyTorch module")
    parser.add_argument("flax", help="package.module:function of the Flax module")
    parser.add_argument(
        "--shape", type=int, nargs="+", required=True,
        help="of the input, channels last, which is drawn from N(0, 1)",
    )  # fmt: skip
    parser.add_argument(
        "--integers", type=int, metavar="N", help="draw integers below N instead"
    )
    parser.add_argument("--steps", type=int, default=0, help="training steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--rename", nargs="+", default=[], metavar="FLAX=TORCH",
        help="modules of other names",
    )  # fmt: skip
    parser.add_argument(
        "--flattened", nargs="+", default=[], metavar="LAYER=C,H,W",
        help="linear layers that read a flattened map",
    )  # fmt: skip
    parser.add_argument(
        "--channels-first", action=argparse.BooleanOptionalAction,
        help="PyTorch's channels are first; by default in arrays of 4 axes or more",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        report = compare(
            _made(options.torch),
            _made(options.flax),
            _drawn(options.shape, options.integers, options.seed),
            steps=options.steps,
            rename=dict(map(_pair, options.rename)),
            flattened={name: _sizes(s) for name, s in map(_pair, options.flattened)},
            channels_first=options.channels_first,
            seed=options.seed,
        )
    except (ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report)
    return 0 if report.agrees else 1


def _made(name: str) -> Any:
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(f"{name!r} is not package.module:function")
    try:
        return getattr(import_module(module), function)()
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{name!r}: {error}") from error


def _drawn(shape: Sequence[int], below: int | None, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) if below is None else rng.integers(below, size=shape)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not name=value")
    return name, value


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


if __name__ == "__main__":
    sys.exit(main())
