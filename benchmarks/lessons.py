"""Trains each lesson beside PyTorch: the same settings, in turns, in one process.

    TFDS_DATA_DIR=... python -m benchmarks.lessons
    TFDS_DATA_DIR=... python -m benchmarks.lessons --write    # into the READMEs as well

The first time is that of the whole training with its measurement of the test set after
each epoch, as `fit` does it: compilation counts, loading data and drawing figures do
not. The second is the median epoch after the first, measurement included, when all is
compiled. PyTorch runs eagerly on tensors in memory, without the cost of a DataLoader.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import jax
import numpy as np
import torch

from benchmarks.pages import write_between
from benchmarks.settings import PAUSE
from experiments import (
    lenet,
    linear_regression,
    linear_regression_scratch,
    name_classifier,
    softmax_regression,
    softmax_regression_scratch,
)
from jaxdl.data import bundled_names, load_images, load_names, make_linear_data
from jaxdl.loop import fit
from tests.models import torch_lessons

READMES = sorted(Path(__file__).parents[1].glob("README*.md"))


class Outcome(NamedTuple):
    value: float
    times: list[float]
    """of the start and of the end of each epoch, in seconds"""

    @property
    def total(self) -> float:
        return self.times[-1] - self.times[0]

    @property
    def epoch(self) -> float:
        return statistics.median(np.diff(self.times)[1:])


class Case(NamedTuple):
    lesson: str
    data: str
    epochs: int
    unit: str
    ours: Callable[[int], Outcome]
    theirs: Callable[[int], Outcome]


def run_lesson(module, metric, **settings) -> Callable[[int], Outcome]:
    """Runs a lesson's `main`, and times what it spends in `fit`."""

    def run(seed):
        times = []

        def timed_fit(*args, callbacks, **kwargs):
            def stamp(epoch, state, record):
                times.append(time.perf_counter())

            times.append(time.perf_counter())
            return fit(*args, callbacks=[*callbacks, stamp], **kwargs)

        result = run_with(module, timed_fit, seed=seed, **settings)
        return Outcome(result[metric], times)

    return run


def run_with(module, fit, **settings) -> dict[str, float]:
    """Runs a lesson's `main` with another `fit`, in silence, and leaves no files."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(module, "fit", fit),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        return module.main(module.Config(run_dir=folder, **settings))


def train_torch(net, loss, optimizer, x, y, epochs, batch_size, measure) -> Outcome:
    times = [time.perf_counter()]
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch_size):
            optimizer.zero_grad()
            loss(net(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            value = measure()
        times.append(time.perf_counter())
    return Outcome(value, times)


def torch_images(make_net, make_optimizer, dataset, epochs):
    def run(seed):
        torch.manual_seed(seed)
        images = load_images(dataset, None, 28)
        (x, y), (test_x, test_y) = (
            (
                torch.tensor(split["image"].transpose(0, 3, 1, 2)),
                torch.tensor(split["label"], dtype=torch.long),
            )
            for split in (images.train, images.test)
        )
        net = make_net()

        def accuracy():
            hits = [
                (net(images).argmax(1) == labels).sum().item()
                for images, labels in zip(
                    test_x.split(256), test_y.split(256), strict=True
                )
            ]
            return sum(hits) / len(test_x)

        return train_torch(
            net,
            torch.nn.functional.cross_entropy,
            make_optimizer(net.parameters()),
            x,
            y,
            epochs,
            256,
            accuracy,
        )

    return run


def torch_softmax():
    linear = torch.nn.Linear(784, 10)
    torch.nn.init.normal_(linear.weight, std=0.01)
    torch.nn.init.zeros_(linear.bias)
    return torch.nn.Sequential(torch.nn.Flatten(), linear)


class TorchNames(torch_lessons.Names):
    """The last column of its input is the names' lengths."""

    def forward(self, x):
        return super().forward(x[:, :-1], x[:, -1])


def torch_names(files, epochs):
    """Trains on the names that the lesson trains on for the same seed."""

    def run(seed):
        torch.manual_seed(seed)
        key = jax.random.split(jax.random.key(seed), 3)[0]
        data = load_names(*files, key=key) if files else bundled_names(key)
        (x, y), (test_x, test_y) = (
            (
                torch.tensor(np.c_[split["text"], split["length"]], dtype=torch.long),
                torch.tensor(split["label"], dtype=torch.long),
            )
            for split in (data.train, data.test)
        )
        net = TorchNames(len(data.class_names))

        def accuracy():
            return (net(test_x).argmax(1) == test_y).double().mean().item()

        return train_torch(
            net,
            torch.nn.functional.cross_entropy,
            torch.optim.Adam(net.parameters(), 1e-3),
            x,
            y,
            epochs,
            256,
            accuracy,
        )

    return run


def torch_linear(examples, epochs, scale):
    """`scale` is what the squared error is multiplied by: ½ in the lesson by hand."""

    def run(seed):
        torch.manual_seed(seed)
        w, b = linear_regression.W, linear_regression.B
        data = make_linear_data(jax.random.key(seed), w, b, examples, 0.01)
        x, y = (torch.tensor(np.asarray(data[name])) for name in "xy")
        net = torch.nn.Linear(3, 1)
        torch.nn.init.normal_(net.weight, std=0.01)
        torch.nn.init.zeros_(net.bias)

        def error():
            found = torch.cat([net.weight[0], net.bias]).numpy()
            return float(abs(found - np.append(w, b)).max())

        return train_torch(
            net,
            lambda predicted, y: scale * ((predicted[:, 0] - y) ** 2).mean(),
            torch.optim.SGD(net.parameters(), 0.03),
            x,
            y,
            epochs,
            10,
            error,
        )

    return run


def cases(names: list[str]) -> list[Case]:
    def sgd(parameters):
        return torch.optim.SGD(parameters, 0.1)

    def adam(parameters):
        return torch.optim.Adam(parameters, 1e-3)

    def images(module, make_net, make_optimizer, dataset, epochs):
        return Case(
            module.__name__.split(".")[-1],
            dataset,
            epochs,
            "test accuracy",
            run_lesson(module, "test/accuracy", dataset=dataset, epochs=epochs),
            torch_images(make_net, make_optimizer, dataset, epochs),
        )

    def surnames(data, files):
        settings = {"names": files, "epochs": 10}
        return Case(
            "name_classifier",
            data,
            10,
            "test accuracy",
            run_lesson(name_classifier, "test/accuracy", **settings),
            torch_names(files, 10),
        )

    return [
        Case(
            "linear_regression_scratch", "500 drawn points", 7, "largest error",
            run_lesson(linear_regression_scratch, "descent"), torch_linear(500, 7, 0.5),
        ),
        Case(
            "linear_regression", "1,000 drawn points", 3, "largest error",
            run_lesson(linear_regression, "error"), torch_linear(1000, 3, 1.0),
        ),
        images(softmax_regression_scratch, torch_softmax, sgd, "fashion_mnist", 5),
        images(softmax_regression, torch_softmax, sgd, "fashion_mnist", 5),
        images(lenet, torch_lessons.LeNet, adam, "fashion_mnist", 5),
        images(lenet, torch_lessons.LeNet, adam, "digits", 200),
        surnames("Faker's names", None),
        *([surnames("the course's names", tuple(names))] if names else []),
    ]  # fmt: skip


def row(case: Case, seeds: int) -> str:
    ours, theirs = [], []
    for seed in range(seeds):
        for outcomes, train in (ours, case.ours), (theirs, case.theirs):
            time.sleep(PAUSE)
            outcomes.append(train(seed))
    cells = [f"`{case.lesson}`", case.data, str(case.epochs)]
    for outcomes in ours, theirs:
        values = [outcome.value for outcome in outcomes]
        mean, spread = np.mean(values), np.std(values, ddof=min(1, seeds - 1))
        if case.unit == "test accuracy":
            cells.append(f"{mean:.1%} ± {spread:.1%}")
        else:
            cells.append(f"error {mean:.4f} ± {spread:.4f}")
        total = statistics.median(o.total for o in outcomes)
        epoch = statistics.median(o.epoch for o in outcomes)
        cells.append(f"{total:.1f} s")
        cells.append(f"{1000 * epoch:.0f} ms")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lesson", help="this lesson only")
    parser.add_argument(
        "--names", nargs=2, default=[], help="the course's two files of names"
    )
    parser.add_argument("--write", action="store_true", help="update the READMEs")
    arguments = parser.parse_args()
    if arguments.lesson and arguments.write:
        parser.error("--write needs every lesson's row: leave --lesson out")

    lines = [
        "| lesson | data | epochs | jaxdl | time | epoch | PyTorch | time | epoch |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases(arguments.names):
        if arguments.lesson not in (None, case.lesson):
            continue
        lines.append(row(case, arguments.seeds))
        print(lines[-1], flush=True)
    if arguments.write:
        for readme in READMES:
            table = "\n".join(lines)
            write_between(readme, "<!-- results -->", table, "<!-- end -->")


if __name__ == "__main__":
    main()
