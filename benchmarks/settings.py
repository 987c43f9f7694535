"""How a run of the command measures."""

import os
from typing import NamedTuple

PAUSE = 0.5  # seconds: PyTorch's threads go on spinning after their work is done
STEADY = 0.3  # seconds: a machine that rested is slow at first


class Settings(NamedTuple):
    device: str = "cpu"
    turns: int = 5
    fresh_turns: int = 2
    quick: bool = False
    torch_compile: bool = True


def compute_on(device: str) -> None:
    """Has JAX compute there, also in processes that are started from here.

    For a GPU, where `torch_side` asks the same of PyTorch, products of float32 are
    computed in float32: TF32, which JAX takes by itself, moves losses by more than
    what tells whether two sides do the same. JAX is not to be imported before.
    """
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    else:
        os.environ["JAX_PLATFORMS"] = "cuda,cpu"  # an error where there is no GPU
        os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
        # PyTorch computes in the same process.
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
