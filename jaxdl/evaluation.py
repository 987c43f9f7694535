"""What a trained run makes of its test set, measured again from its files."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jaxdl.files import write_whole
from jaxdl.metrics import confusion_matrix
from jaxdl.plots import show_confusion
from jaxdl.resume import load_trained
from jaxdl.training import check_names, compiled, num_examples

BATCH = 1000

# logits_of(params, model_state, *inputs)
LogitsOf = Callable[..., Float[Array, "batch classes"]]


def evaluate_run(
    directory: str | Path,
    logits_of: LogitsOf,
    params: PyTree,
    test: dict[str, np.ndarray],
    class_names: Sequence[str],
    model_state: PyTree = (),
    *,
    inputs: Sequence[str] = ("image",),
) -> dict[str, float]:
    """Measures the best parameters of a run, or the last where none were watched for.

    Prints the accuracy and the confusion matrix, and draws the matrix as
    `confusion.png` in the directory of the run. `params` and `model_state` tell the
    shapes; `test` holds "label" and the `inputs`, in the order that `logits_of` takes.

    Returns:
      {"test/accuracy": share of right answers}.

    Raises:
      FileNotFoundError: the run has saved no state.
      ValueError: it is damaged, or has not these parameters, or a label or a prediction
        has none of the `class_names`.
      OSError: the figure cannot be written; the message names it.
    """
    directory = Path(directory)
    trained = load_trained(directory / "checkpoints", params, model_state)
    counts = count_confusions(
        logits_of, trained.params, trained.model_state, test, len(class_names),
        inputs=inputs,
    )  # fmt: skip
    accuracy = float(np.trace(counts) / counts.sum())
    print(f"step {trained.step}: {accuracy:.1%} of {counts.sum()} test examples")
    print(spell_confusion(counts, class_names))
    figure = directory / "confusion.png"
    drawn = io.BytesIO()
    show_confusion(counts, class_names).savefig(drawn, dpi=150)
    write_whole(figure, drawn.getvalue())
    print(f"Figure: {figure}")
    return {"test/accuracy": accuracy}


def predict(
    logits_of: LogitsOf, params: PyTree, model_state: PyTree, *inputs: np.ndarray
) -> Int[Array, " n"]:
    """Returns the class with the largest logit of each example, 1,000 at a time.

    All batches have one shape, as in `make_evaluation`, and so one program.

    Raises:
      ValueError: there are no examples.
    """
    n = num_examples(inputs)
    best = compiled(_best, static_argnums=0)
    steps = -(-n // BATCH)
    rows = np.arange(steps * -(-n // steps)).reshape(steps, -1).clip(max=n - 1)
    batches = ([array[batch] for array in inputs] for batch in rows)
    found = [best(logits_of, params, model_state, *batch) for batch in batches]
    return jnp.concatenate(found)[:n]


# Of the module, and so compiled once, however often `predict` is called.
def _best(logits_of: LogitsOf, *arguments: Any) -> Int[Array, " batch"]:
    return logits_of(*arguments).argmax(axis=1)


def count_confusions(
    logits_of: LogitsOf,
    params: PyTree,
    model_state: PyTree,
    test: dict[str, np.ndarray],
    num_classes: int,
    *,
    inputs: Sequence[str] = ("image",),
) -> Int[np.ndarray, "classes classes"]:
    """Counts examples by their true class, the row, and the one that is predicted.

    Raises:
      ValueError: there are no examples, or a label or a prediction is not within
        0..num_classes-1.
    """
    check_names("inputs", inputs)
    arrays = [test[name] for name in inputs]
    predictions = predict(logits_of, params, model_state, *arrays)
    labels = jnp.asarray(test["label"])
    return np.asarray(confusion_matrix(labels, predictions, num_classes))


def spell_confusion(
    counts: Int[np.ndarray, "classes classes"], class_names: Sequence[str]
) -> str:
    """Writes a confusion matrix as a table: a row for each true class.

    >>> print(spell_confusion(np.array([[12, 1], [0, 9]]), ["cat", "dog"]))
    is, named  cat  dog
          cat   12    1
          dog    0    9
    """
    head = "is, named"
    left = max(len(head), *map(len, class_names))
    widths = [
        max(len(name), len(str(column.max()))) + 2
        for name, column in zip(class_names, counts.T, strict=True)
    ]

    def line(name, cells):
        cells = zip(cells, widths, strict=True)
        return name.rjust(left) + "".join(f"{cell:>{width}}" for cell, width in cells)

    rows = zip(class_names, counts, strict=True)
    return "\n".join([line(head, class_names), *(line(*row) for row in rows)])


def spell_likely(
    logits: Float[Array, " classes"], class_names: Sequence[str], most: int = 3
) -> str:
    """Writes the classes with the largest logits, and their probabilities.

    >>> spell_likely(jnp.array([0.0, 2.0, 1.0]), ["Czech", "Irish", "Dutch"], most=2)
    'Irish 67%, Dutch 24%'
    """
    shares = np.asarray(jax.nn.softmax(logits))
    largest = np.argsort(-shares, stable=True)[:most]
    return ", ".join(f"{class_names[i]} {shares[i]:.0%}" for i in largest)
