"""How a run of the command measures."""

from typing import NamedTuple

PAUSE = 0.5  # seconds: PyTorch's threads go on spinning after their work is done
STEADY = 0.3  # seconds: a machine that rested is slow at first


class Settings(NamedTuple):
    device: str = "cpu"
    turns: int = 5
    fresh_turns: int = 2
    quick: bool = False
    torch_compile: bool = True
