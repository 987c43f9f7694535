"""How a run of the command measures."""

from typing import NamedTuple

PAUSE = 0.5  # seconds: PyTorch's threads go on spinning after their work is done


class Settings(NamedTuple):
    device: str = "cpu"
    turns: int = 5
    fresh_turns: int = 2
    quick: bool = False
    torch_compile: bool = True

    @property
    def pause(self) -> float:
        return 0 if self.quick else PAUSE
