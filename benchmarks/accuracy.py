"""Accuracies on the notes' own data, jaxdl's lessons beside PyTorch, over seeds.

    TFDS_DATA_DIR=... python -m benchmarks.accuracy --tables FOLDER    # all; an hour
    TFDS_DATA_DIR=... python -m benchmarks.accuracy lenet --seeds 2
    python -m benchmarks.accuracy --write            # the page, from what was measured

A lesson runs as it is, with the notes' data set, in float32. PyTorch
starts from the lesson's initial parameters, and draws batches and dropout of its own.
FOLDER has the course's tables, each .csv.gz: names_train, names_test, diabetes,
titanic_train and titanic_test.
"""

import argparse
import json
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

from benchmarks.lessons import run_with
from benchmarks.pages import write_between
from tests.course_parity.cases import CASES
from tests.course_parity.networks import Masked
from tests.course_parity.torch_runs import make_net, tensors

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "accuracy.json"
PAGE = ROOT / "docs" / "lessons.md"


class Case(NamedTuple):
    data: str
    settings: Mapping[str, Any]
    dropout: tuple[float, ...] = ()
    model: str = ""
    metric: str = "test/accuracy"
    training: int = 0
    """which of the lesson's trainings"""


def cases(tables: Path) -> dict[str, Case]:
    fashion = "Fashion-MNIST", {"dataset": "fashion_mnist"}
    mnist = "MNIST", {"dataset": "mnist"}
    parts = "train", "test"
    names, titanic = (
        tuple(str(tables / f"{name}_{part}.csv.gz") for part in parts)
        for name in ("names", "titanic")
    )
    return {
        "softmax_regression_scratch": Case(*fashion),
        "softmax_regression": Case(*fashion),
        "mlp_scratch": Case(*fashion),
        "mlp": Case(*fashion),
        "dropout_scratch": Case(*fashion, dropout=(0.2, 0.4)),
        "dropout": Case(*fashion, dropout=(0.2, 0.5)),
        "diabetes": Case(
            "diabetes.csv.gz", {"csv": str(tables / "diabetes.csv.gz")},
            model="adam", metric="adam test/accuracy", training=1,
        ),
        "titanic": Case(
            "titanic_train.csv.gz", dict(zip(parts, titanic, strict=True)),
            metric="validation/accuracy",
        ),
        "lenet": Case(*fashion),
        "name_classifier": Case("the course's names", {"names": names}),
        "mnist_mlp": Case(*mnist),
        "simple_cnn": Case(*mnist),
        "residual_cnn": Case(*mnist),
        "inception": Case(*mnist),
    }  # fmt: skip


def run_lesson(name: str, case: Case, seed: int) -> tuple[float, dict[str, Any]]:
    """Runs a lesson; returns its accuracy, and what it trained from and on."""
    module, trainings = import_module(f"experiments.{name}"), []
    fit = module.fit

    def recorded(state, step, data, key, **settings):
        params = jax.device_get((state.params, state.model_state))  # fit donates them
        trainings.append({"params": params, "data": data, **settings})
        return fit(state, step, data, key, **settings)

    result = run_with(module, recorded, seed=seed, **case.settings)
    return result[case.metric], trainings[case.training]


def run_torch(name: str, case: Case, seed: int, training: dict[str, Any]) -> float:
    """Trains PyTorch's network in the same way; returns its accuracy."""
    torch.manual_seed(seed)
    twin = CASES[name].models[case.model]
    net = make_net(twin, *training["params"], torch.float32)
    rates = iter(case.dropout)
    for label, part in list(net.named_children()):
        if isinstance(part, Masked):
            setattr(net, label, torch.nn.Dropout(next(rates)))
    optimizer = twin.optimizer(net, None)

    [held_out] = training["held_out"].values()
    train, test = singles(training["data"]), singles(held_out)
    n, batch_size = len(next(iter(train.values()))), training["batch_size"]
    for _ in range(training["epochs"]):
        for rows in torch.randperm(n).split(batch_size):
            optimizer.zero_grad()
            twin.loss(net, {key: t[rows] for key, t in train.items()}).backward()
            optimizer.step()
    net.eval()
    count = len(next(iter(test.values())))
    with torch.no_grad():
        hits = [
            right(net, {key: t[rows] for key, t in test.items()})
            for rows in torch.arange(count).split(1000)
        ]
    return torch.cat(hits).double().mean().item()


def singles(data) -> dict[str, torch.Tensor]:
    """Tensors, those of floating numbers in float32."""
    arrays = {name: np.asarray(array) for name, array in data.items()}
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors(arrays).items()
    }


def right(net, batch) -> torch.Tensor:
    """Whether each example is named as it should be."""
    if "y" in batch:
        return (net(batch["x"]).reshape(-1) > 0.5) == (batch["y"] > 0.5)
    if "text" in batch:
        logits = net(batch["text"], batch["length"])
    elif "x" in batch:
        logits = net(batch["x"])
    elif isinstance(net, torch.nn.Linear):
        logits = net(batch["image"].flatten(1))
    else:
        logits = net(batch["image"])
    return logits.argmax(1) == batch["label"]


def measure(name: str, case: Case, seed: int) -> dict[str, float]:
    start = time.perf_counter()
    ours, training = run_lesson(name, case, seed)
    return {
        "jaxdl": ours,
        "PyTorch": run_torch(name, case, seed, training),
        "epochs": training["epochs"],
        "seconds": round(time.perf_counter() - start, 1),
    }


def table(results: Mapping[str, Any]) -> str:
    lines = [
        "| lesson | data | epochs | seeds | jaxdl | PyTorch | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        runs = list(found["seeds"].values())
        both = [np.array([run[side] for run in runs]) for side in ("jaxdl", "PyTorch")]
        cells = [
            f"{100 * a.mean():.2f} ± {100 * a.std(ddof=min(1, len(a) - 1)):.2f} %"
            for a in both
        ]
        apart = 100 * (both[0].mean() - both[1].mean())
        settings = f"`{name}` | {found['data']} | {runs[0]['epochs']} | {len(runs)}"
        lines.append(f"| {settings} | {cells[0]} | {cells[1]} | {apart:+.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lessons", nargs="*", metavar="lesson")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", type=Path, default=Path("."))
    parser.add_argument("--write", action="store_true", help="only writes the page")
    given = parser.parse_args()
    known = cases(given.tables)
    if unknown := set(given.lessons) - set(known):
        parser.error(f"{', '.join(unknown)}: there are {', '.join(known)}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not given.write:
        for name in given.lessons or known:
            case = known[name]
            found = results.setdefault(name, {"data": case.data, "seeds": {}})
            for seed in map(str, range(given.seeds)):
                if seed in found["seeds"]:
                    continue
                found["seeds"][seed] = measure(name, case, int(seed))
                print(name, seed, found["seeds"][seed], flush=True)
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    rows = table({name: results[name] for name in known if name in results})
    write_between(PAGE, "<!-- accuracies -->", rows, "<!-- end of accuracies -->")


if __name__ == "__main__":
    main()
