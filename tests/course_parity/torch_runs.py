"""The same training in PyTorch, and how far two trainings' losses are apart."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

from jaxdl.torch_weights import to_state_dict
from tests.course_parity.trainings import Training
from tests.models.twins import as_torch, drawn_masks

LIMIT = 1e-8
FLOOR = 1e-12
"""losses this many times smaller than the largest so far are compared as if they were
that large: an error that was a million times larger has lost six digits to rounding"""

Batch = dict[str, torch.Tensor]


class Twin(NamedTuple):
    """What trains in PyTorch, made for the initial parameters of a lesson's model."""

    net: Callable[[Any], torch.nn.Module]
    optimizer: Callable[[torch.nn.Module, Training], torch.optim.Optimizer]
    loss: Callable[[torch.nn.Module, Batch], torch.Tensor]
    flattened: Callable[[Any], dict[str, Sequence[int]]] = lambda params: {}
    as_module: Callable[[Any], Any] = lambda params: params
    """parameters of a lesson from scratch as those of the module that it spells out"""
    masks: Callable[[Training], Callable[[int, np.ndarray], list[Any]]] | None = None
    """what dropout multiplies by, at a step on some rows"""
    train: bool = True
    """whether batch normalisation takes the statistics of the batch"""


class Apart(NamedTuple):
    """Relative differences of losses, and the first step, from 1, above `LIMIT`."""

    largest: float
    last: float
    passes: int | None


def train_torch(twin: Twin, training: Training, *, nudged: bool = False) -> np.ndarray:
    """The losses of PyTorch's training; with `nudged` from the next larger parameters.

    Parameters, rows and masks are those of the lesson; the optimiser is PyTorch's.
    Zeros are not nudged: where a block's scale starts from 0, ReLU gets sums that are
    0 exactly, of which the smallest number makes either side of its kink.
    """
    net = make_net(twin, training.params, training.model_state)
    if nudged:
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(
                    torch.where(p == 0, p, p.nextafter(torch.full_like(p, torch.inf)))
                )
    data, optimizer = tensors(training.data), twin.optimizer(net, training)
    masks = twin.masks(training) if twin.masks else lambda step, rows: []
    masked = [part for part in net.modules() if hasattr(part, "mask")]
    losses = np.empty(len(training.rows))
    for step, rows in enumerate(training.rows):
        for part, mask in zip(masked, masks(step, rows), strict=True):
            part.mask = as_torch(mask)
        index = torch.from_numpy(rows.astype(np.int64))
        optimizer.zero_grad()
        loss = twin.loss(net, {name: tensor[index] for name, tensor in data.items()})
        if loss.requires_grad:  # no gradient passes `.data`
            loss.backward()
            optimizer.step()
        losses[step] = loss.item()
    return losses


def make_net(
    twin: Twin, params: Any, model_state: Any, dtype: torch.dtype = torch.float64
) -> torch.nn.Module:
    """PyTorch's network with these parameters, and statistics, of a lesson."""
    params = twin.as_module(params)
    net = twin.net(params).to(dtype).train(twin.train)
    variables = {"params": params, **dict(model_state)}
    arrays = to_state_dict(variables, flattened=twin.flattened(params))
    net.load_state_dict(
        {name: torch.from_numpy(a.copy()) for name, a in arrays.items()}
    )
    return net


def tensors(data: dict[str, np.ndarray]) -> Batch:
    """Arrays as PyTorch takes them: float64 or int64, images with channels first."""
    return {
        name: as_torch(
            array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
        )
        for name, array in data.items()
    }


def apart(losses: np.ndarray, expected: np.ndarray, first: int = 0) -> Apart:
    """How far losses, of the steps from `first` on, are from those expected.

    A loss that is NaN or infinite has to be so on both sides.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        off = abs(losses - expected[first:]) / scale(expected)[first:]
    same = (losses == expected[first:]) | (
        np.isnan(losses) & np.isnan(expected[first:])
    )
    off = np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))
    above = np.flatnonzero(off > LIMIT)
    passes = first + int(above[0]) + 1 if len(above) else None
    return Apart(float(off.max()), float(off[-1]), passes)


def scale(expected: np.ndarray) -> np.ndarray:
    """What differences are divided by at each step."""
    size = abs(expected)
    return np.fmax(size, FLOOR * np.fmax.accumulate(size))


def compare(twin: Twin, training: Training) -> dict[str, Any]:
    """A training beside PyTorch's, and PyTorch's beside its own, one ulp away."""
    expected = train_torch(twin, training)
    nudged = train_torch(twin, training, nudged=True)
    ours = apart(training.losses, expected, training.first)
    theirs = apart(nudged, expected)
    lost = np.flatnonzero(~np.isfinite(expected))
    return {
        "steps": len(expected),
        "first loss": float(expected[0]),
        "last loss": float(expected[-1]),
        "floored": int((scale(expected) > abs(expected)).sum()),
        "not finite from": int(lost[0]) + 1 if len(lost) else None,
        "jaxdl": ours._asdict(),
        "one ulp": theirs._asdict(),
    }


def dropout_masks(model: Any, inputs: Sequence[str]) -> Callable:
    """What multiplies, at a step on some rows, where a module keeps units or not."""

    def of_training(training):
        variables = {"params": training.params, **dict(training.model_state)}
        variables = jax.tree.map(jax.numpy.asarray, variables)
        masks_of = jax.jit(partial(drawn_masks, model(training), variables))
        arrays = [training.data[name].astype(np.float64) for name in inputs]

        def of_step(step, rows):
            key = jax.random.fold_in(training.key, step)
            return masks_of(key, *(array[rows] for array in arrays))

        return of_step

    return of_training
