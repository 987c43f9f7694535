"""What is measured: data, sizes and settings. Nothing but NumPy is imported here.

Each side (`jaxdl_side`, `torch_side`, `flax_side`) builds `network` of its own, and
trains it on the same batches from the same weights. A new case is an entry here, and
a network in each side's `NETWORKS` if it has none yet.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

Arrays = dict[str, np.ndarray]
Images = tuple[int, int, int]

FAST, COMPILED, FLAX = "PyTorch", "torch.compile", "Flax"
"""names of goals: the time of PyTorch's faster eager way, or another's, over jaxdl's"""
ONE = "one by one"
"""name of a goal: as many runs of one member by jaxdl, over all in one program"""
ON_GPU = {FAST: 10, COMPILED: 2}
"""goals of small networks there"""


@dataclass(frozen=True)
class Case:
    """One network trained, alone or as several members, or evaluated."""

    name: str
    title: str
    network: str
    data: Callable[[int], Arrays]
    examples: int
    batch_size: int
    epochs: int = 1
    """passes over the examples in one turn; each turn starts from the same weights"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """of the network, the same on every side"""
    inputs: tuple[str, ...] = ("image",)
    flattened: Mapping[str, tuple[int, ...]] | None = None
    """layers that read a flattened map, as `torch_weights.from_state_dict` takes it"""
    loss: Literal["cross_entropy", "squared_error", "binary"] = "cross_entropy"
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.0
    kind: Literal["train", "rates", "folds", "ensemble", "evaluate"] = "train"
    members: int = 1
    """learning rates up from `learning_rate`, folds, or networks of an ensemble"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    tolerance: float = 1e-3
    """by which the sides' losses may differ, relatively"""
    goals: Mapping[str, float] = field(default_factory=dict)
    gpu_goals: Mapping[str, float] | None = None
    """by default those of small networks, where one is trained"""
    device: Literal["any", "gpu"] = "any"
    """"gpu" leaves the case out elsewhere, unless it is asked for by name"""
    quick_options: Mapping[str, Any] = field(default_factory=dict)
    """options of the network when only the machinery is tried"""
    whole: bool = False
    """whether all epochs as one program, by `make_run`, are a side of their own"""
    fresh: bool = True
    """whether it is also run as a process of its own"""

    @property
    def steps(self) -> int:
        """of one epoch; a last, smaller batch is left out of the data"""
        return self.examples // self.batch_size

    def quick(self) -> "Case":
        """The same with next to no work, to see that the sides do the same."""
        size = min(self.batch_size, 8)
        members = min(self.members, 3)
        return replace(
            self,
            examples=size * (2 * members if self.kind == "folds" else 3),
            batch_size=size,
            epochs=2,
            members=members,
            options={**self.options, **self.quick_options},
        )

    def goals_on(self, device: str) -> Mapping[str, float]:
        if device == "cpu":
            return self.goals
        if self.gpu_goals is None:
            return ON_GPU if self.kind == "train" else {}
        return self.gpu_goals

    def draw(self) -> Arrays:
        return self.data(self.examples)

    def rates(self) -> np.ndarray:
        """Learning rates of the members: up to 1 where they differ in them."""
        if self.kind == "rates":
            return np.geomspace(self.learning_rate, 1, self.members, dtype=np.float32)
        return np.full(self.members, self.learning_rate, np.float32)


def images(shape: Images, classes: int = 10) -> Callable[[int], Arrays]:
    """Images of noise on a pattern for each class, so that there is much to learn."""

    def draw(n):
        rng = np.random.default_rng(0)
        patterns = rng.random((classes, *shape), dtype=np.float32)
        label = rng.integers(classes, size=n, dtype=np.int32)
        image = rng.random((n, *shape), dtype=np.float32)
        image += patterns[label]
        image -= 1
        return {"image": image, "label": label}

    return draw


def line(n: int) -> Arrays:
    """The examples of note 001: three features, a linear target, a little noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    y = x @ np.float32([-6, 3.2, 10.5]) + 1.7 + rng.normal(0, 0.01, n)
    return {"x": x, "y": y.astype(np.float32)[:, None]}


def exam(n: int) -> Arrays:
    """Hours of study, and who passed."""
    hours = np.arange(1, n + 1, dtype=np.float32)[:, None]
    return {"x": hours, "y": (hours > 2.5).astype(np.float32)}


def surnames(n: int) -> Arrays:
    """Texts as long as the course's surnames, of 18 languages that differ by letter."""
    rng = np.random.default_rng(0)
    label = rng.integers(18, size=n, dtype=np.int32)
    length = np.clip(rng.normal(6.6, 2.2, n).round(), 2, 19).astype(np.int32)
    length[0] = 19
    text = rng.integers(97, 110, size=(n, 19), dtype=np.int32)
    text += label[:, None] % 13
    text *= np.arange(19) < length[:, None]
    return {"text": text, "length": length, "label": label}


def hello(n: int) -> Arrays:
    """hello as numbers of letters, and ohlol."""
    word, target = np.int32([1, 0, 2, 2, 3]), np.int32([3, 1, 2, 3, 2])
    return {"text": np.tile(word, (n, 1)), "label": np.tile(target, (n, 1))}


MNIST, COLOURS = images((28, 28, 1)), images((32, 32, 3))
MAP16 = {"fc1": (16, 4, 4)}
FIVE_LAYERS = {"widths": (512, 256, 128, 64, 10)}


def perceptron(name: str, title: str, **settings: Any) -> Case:
    settings = {"data": MNIST, "learning_rate": 0.1, **settings}
    return Case(name, title, "mlp", **settings)


def small_images(name: str, title: str, batch_size: int, steps: int, **settings: Any):
    settings = {"data": MNIST, "momentum": 0.5, **settings}
    return Case(
        name, title, name, examples=steps * batch_size, batch_size=batch_size,
        **settings,
    )  # fmt: skip


CASES = [
    Case(
        "linear", "linear regression", "linear", line, 1000, 10, 20,
        options={"features": 1}, inputs=("x",), loss="squared_error",
        learning_rate=0.03, goals={FAST: 20, FLAX: 1.2}, whole=True,
    ),
    Case(
        "logistic", "logistic regression", "linear", exam, 3, 3, 500,
        options={"features": 1}, inputs=("x",), loss="binary",
        goals={FAST: 20, FLAX: 1.2}, whole=True,
    ),
    perceptron(
        "softmax", "softmax regression", examples=59904, batch_size=256,
        options={"widths": (10,)}, goals={FAST: 5, FLAX: 1.2},
    ),
    perceptron(
        "mlp", "MLP of five layers", examples=59968, batch_size=64,
        options=FIVE_LAYERS, learning_rate=0.01, momentum=0.5,
        quick_options={"widths": (24, 16, 10)}, goals={FAST: 2, FLAX: 1.2},
    ),
    perceptron(
        "dropout", "dropout MLP", examples=59904, batch_size=256,
        options={"widths": (512, 256, 10), "dropout": (0.2, 0.5)},
        quick_options={"widths": (24, 16, 10)},
        tolerance=0.1,  # each side drops others
        goals={FAST: 2, FLAX: 1.2},
    ),
    small_images(
        "lenet", "LeNet", 256, 40, flattened=MAP16, optimizer="adam",
        learning_rate=1e-3, goals={FAST: 1.1, FLAX: 2},
    ),
    small_images(
        "residual_cnn", "residual CNN", 64, 60, flattened={"fc": (32, 4, 4)},
        goals={FAST: 1, FLAX: 2},
    ),
    small_images(
        "inception", "Inception network", 64, 30, flattened={"fc": (88, 4, 4)},
        goals={FAST: 1, FLAX: 2},
    ),
    small_images(
        "resnet18", "ResNet-18 (timm's stem)", 64, 4, data=COLOURS,
        quick_options={"width": 8}, goals={FAST: 0.65, FLAX: 2}, gpu_goals={},
    ),
    Case(
        "names", "name classifier", "names", surnames, 2560, 256,
        inputs=("text", "length"), optimizer="adam", learning_rate=1e-3,
        tolerance=5e-3,  # Flax's cells have one bias where PyTorch's have two
        goals={FAST: 2, FLAX: 1.2},
    ),
    Case(
        "char_rnn", "character RNN", "char_rnn", hello, 1, 1, 200,
        inputs=("text",), optimizer="adam", learning_rate=0.01,
        tolerance=0.2,  # as above, and the word is learned within the run
        goals={FAST: 2, FLAX: 1.2}, whole=True,
    ),
    perceptron(
        "rates", "16 learning rates of softmax regression", examples=59904,
        batch_size=256, options={"widths": (10,)}, learning_rate=1e-3, kind="rates",
        members=16, goals={FAST: 20, FLAX: 1.2}, fresh=False,
    ),
    perceptron(
        "folds", "5 folds of the MLP", examples=20480, batch_size=64,
        options=FIVE_LAYERS, learning_rate=0.01, momentum=0.5, kind="folds", members=5,
        quick_options={"widths": (24, 16, 10)}, goals={FAST: 2, FLAX: 1.2}, fresh=False,
    ),
    Case(
        "ensemble", "20 LeNets", "lenet", MNIST, 1024, 256, flattened=MAP16,
        optimizer="adam", learning_rate=1e-3, kind="ensemble", members=20,
        goals={FAST: 1, FLAX: 2}, fresh=False,
    ),
    Case(
        "evaluate_mlp", "evaluation of the MLP", "mlp", MNIST, 10_000, 250, 4,
        options=FIVE_LAYERS, kind="evaluate", quick_options={"widths": (24, 16, 10)},
        goals={FAST: 1, FLAX: 1.2}, fresh=False,
    ),
    Case(
        "evaluate_lenet", "evaluation of LeNet", "lenet", MNIST, 10_000, 250,
        flattened=MAP16, kind="evaluate", goals={FAST: 1, FLAX: 1.2}, fresh=False,
    ),
    Case(
        "resnet50", "ResNet-50, 224², bfloat16", "resnet50", images((224, 224, 3)),
        128, 32, learning_rate=1e-3, dtype="bfloat16", device="gpu", fresh=False,
        tolerance=0.05,  # 8 bits of mantissa
        gpu_goals={COMPILED: 1},
        quick_options={"width": 8},
    ),
    Case(
        "residual_64", "64 residual CNNs", "residual_cnn", MNIST, 1024, 64,
        flattened={"fc": (32, 4, 4)}, momentum=0.5, kind="ensemble", members=64,
        device="gpu", gpu_goals={ONE: 8}, fresh=False,
    ),
]  # fmt: skip

BY_NAME = {case.name: case for case in CASES}


def folds_of(case: Case) -> np.ndarray:
    """Rows to train on, (members, examples of all folds but one)."""
    parts = np.random.default_rng(1).permutation(case.examples)
    parts = parts[: case.examples // case.members * case.members]
    parts = parts.reshape(case.members, -1)
    without = [np.delete(parts, i, axis=0).ravel() for i in range(case.members)]
    rows = np.stack(without)
    full = rows.shape[1] - rows.shape[1] % case.batch_size
    return rows[:, :full].astype(np.int32)
