"""Layers one after another, under PyTorch's names."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY
from functools import partial
from typing import Any

from flax import linen as nn
from jaxtyping import Array

Layer = Callable[..., Array]


class Sequential(nn.Module):
    """Calls layers in order: torch.nn.Sequential.

    A sequence names its layers "0", "1" and so on; a mapping names them itself. Plain
    functions are layers without parameters, and count. A layer that comes twice keeps
    one set of parameters, under its first name. `train` is given to the layers that
    take it, unless a `partial` binds it.

    Raises:
      ValueError: a layer takes `train` and none is given.

    >>> import jax
    >>> from jaxdl.layers import Linear
    >>> net = Sequential([Linear(16), jax.nn.relu, Linear(2)])
    >>> list(net.init(jax.random.key(0), jax.numpy.ones((1, 8)))["params"])
    ['0', '2']
    """

    layers: Sequence[Layer] | Mapping[str, Layer]
    _: KW_ONLY  # of what Flax adds

    @nn.compact
    def __call__(self, x: Array, *, train: bool | None = None) -> Array:
        bound: dict[int, Layer] = {}
        for name, layer in self._named():
            if id(layer) not in bound:
                own = isinstance(layer, nn.Module)
                bound[id(layer)] = _under(self, name, layer) if own else layer
            x = bound[id(layer)](x, **_train_for(name, layer, train))
        return x

    def _named(self) -> Iterator[tuple[str, Layer]]:
        if isinstance(self.layers, Mapping):
            yield from self.layers.items()
        else:
            yield from ((str(i), layer) for i, layer in enumerate(self.layers))


def _under(parent: nn.Module, name: str, layer: Any) -> Any:
    """The layer as a child of `parent`, wherever it was made."""
    return layer.clone(parent=parent, name=name)


def _train_for(name: str, layer: Layer, train: bool | None) -> dict[str, bool]:
    """The keyword arguments of a layer: `train`, or none."""
    if isinstance(layer, partial) and "train" in layer.keywords:
        return {}  # where the signature lists it still
    function = type(layer).__call__ if isinstance(layer, nn.Module) else layer
    try:
        taken = inspect.signature(function).parameters.get("train")
    except ValueError:  # written in C
        return {}
    if taken is None:
        return {}
    if train is None and taken.default is taken.empty:
        raise ValueError(f"layer {name!r} needs train=True or train=False")
    return {} if train is None else {"train": train}
