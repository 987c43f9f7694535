"""What experiments can be told on the command line, whatever they teach.

A lesson's own configuration extends one of these; the text below a field is its --help.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

COUNTS = (
    "batch", "batch_size", "calls", "depth", "depths", "epochs", "examples_seen",
    "hidden", "most", "steps", "tries", "units", "widths",
)  # fmt: skip
"""fields that a lesson may have, of which there is one or more"""


@dataclass(frozen=True)
class RunConfig:
    """The fields that every experiment has."""

    seed: int = 0
    """names the run: the same seed gives the same bits"""
    run_dir: str | None = None
    """directory to write to; by default runs/<lesson>/<time>"""
    deterministic: bool = False
    """on a GPU, take slower kernels that give the same bits in every process"""
    device: str | None = None
    """cpu, gpu, gpu:1, tpu and the like; by default the fastest kind there is"""
    debug: bool = False
    """show where in the program an error came from"""
    config: str | None = None
    """YAML or JSON file of these settings, such as a run's config.yaml; flags override
    it"""

    def __post_init__(self) -> None:
        """Raises ValueError for a number that would not do what it says."""
        if not 0 <= self.seed < 2**32:  # JAX would keep its last 32 bits
            raise ValueError(f"seed={self.seed} is not within 0..{2**32 - 1}")
        learning_rate = getattr(self, "learning_rate", 0.0)
        if not 0 <= learning_rate < math.inf:
            raise ValueError(f"learning_rate={learning_rate} is not 0 or above")
        for name, value in vars(self).items():
            if value in ((), []):
                raise ValueError(f"{name} names nothing")
            least = min(value) if isinstance(value, tuple | list) else value
            if name in COUNTS and least is not None and least < 1:
                raise ValueError(f"{name}={value} is below 1")


@dataclass(frozen=True)
class ImageConfig(RunConfig):
    """The fields of an experiment on a set of small images."""

    dataset: str = "digits"
    """digits (needs no download), mnist, fashion_mnist or kmnist"""
    data_dir: str | None = None
    """where tensorflow-datasets has prepared the set; by default $TFDS_DATA_DIR, then
    ~/tensorflow_datasets"""
    image_size: int = 28
    """height and width that images are resized to, in pixels"""
    epochs: int | None = None
    """passes over the training images; by default 5 as in the course, and 200 for the
    digits, which are 42 times fewer"""

    evaluate: str | None = None
    """directory of a run: trains nothing, but measures that run's parameters on the
    test images, with its settings: the best where it watched for them, or the last"""

    course_epochs: ClassVar[int] = 5
    digits_times: ClassVar[int] = 40  # as many epochs for the digits

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is None:
            times = self.digits_times if self.dataset == "digits" else 1
            epochs = self.course_epochs * times
            object.__setattr__(self, "epochs", epochs)  # as dataclasses has it


@dataclass(frozen=True)
class MomentumConfig(ImageConfig):
    """The fields of the course's loop on MNIST: SGD with momentum, 10 epochs."""

    epochs: int | None = None
    """passes over the training images; by default 10 as in the course, and 100 for the
    digits, which are 42 times fewer"""
    batch_size: int = 64
    """images a step"""
    learning_rate: float = 0.01
    """of gradient descent"""
    momentum: float = 0.5
    """share of the last step that the next one keeps"""

    course_epochs: ClassVar[int] = 10
    digits_times: ClassVar[int] = 10
