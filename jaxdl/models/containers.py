"""Layers by number or by key, called in whatever order a model wants.

`jaxdl.layers.Sequential` is for layers that follow each other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from flax import linen as nn

Layer = Callable[..., Any]


class ModuleList(nn.Module):
    """Holds layers named "0", "1" and so on: torch.nn.ModuleList.

    Index it, or loop over it, and call what comes. A layer's parameters are made when
    it is first called, so initialise with calls of every layer that is ever used. A
    layer that comes twice keeps one set of parameters, under its first name.

    Raises:
      IndexError: there is no such layer.

    >>> import jax
    >>> from jaxdl.layers import Linear
    >>> class Net(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         linears = ModuleList([Linear(10) for _ in range(10)], name="linears")
    ...         for i, linear in enumerate(linears):
    ...             x = linears[i // 2](x) + linear(x)
    ...         return x
    >>> params = Net().init(jax.random.key(0), jax.numpy.ones((1, 10)))["params"]
    >>> params["linears"]["9"]["kernel"].shape
    (10, 10)
    """

    layers: Sequence[Layer]

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Layer:
        if not -len(self.layers) <= index < len(self.layers):
            raise IndexError(f"no layer {index} among {len(self.layers)}")
        return partial(self, index % len(self.layers))

    def __iter__(self) -> Iterator[Layer]:
        return (self[i] for i in range(len(self.layers)))

    @nn.compact
    def __call__(self, index: int, /, *args: Any, **kwargs: Any) -> Any:
        names = map(str, range(len(self.layers)))
        layers = dict(zip(names, self.layers, strict=True))
        return _call(self, layers, str(index), *args, **kwargs)


class ModuleDict(nn.Module):
    """Holds layers by name: torch.nn.ModuleDict. Otherwise as `ModuleList`.

    Raises:
      KeyError: there is no layer of that name.
    """

    layers: Mapping[str, Layer]

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, name: str) -> Layer:
        if name not in self.layers:
            raise KeyError(f"no layer {name!r} among {', '.join(self.layers)}")
        return partial(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    @nn.compact
    def __call__(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        return _call(self, self.layers, name, *args, **kwargs)


def _call(
    parent: nn.Module, layers: Mapping[str, Any], name: str, *args: Any, **kwargs: Any
) -> Any:
    """Calls a layer as a child of `parent`, wherever it was made.

    A layer that stands under several names has its parameters under the first.
    """
    layer = layers[name]
    if isinstance(layer, nn.Module):
        first = next(key for key, other in layers.items() if other is layer)
        layer = layer.clone(parent=parent, name=first)
    return layer(*args, **kwargs)
