"""What PyTorch calls an array of Flax's, and where PyTorch has its axes."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

# Leaves that have another name in PyTorch; all others keep theirs.
PARAMETERS = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "negative_slope": "weight",  # of flax.linen.PReLU
}
STATISTICS = {"mean": "running_mean", "var": "running_var"}


class Layout(NamedTuple):
    """PyTorch's axes are the axes `axes` of a Flax array seen in the shape `view`.

    `own` is the name with Flax's last part, such as scale for PyTorch's weight.
    """

    name: str
    own: str
    flax: tuple[int, ...]
    view: tuple[int, ...]
    axes: tuple[int, ...]
    torch: tuple[int, ...]

    def as_it_is(self) -> "Layout":
        """Returns that of an array with Flax's name and axes in PyTorch too."""
        axes = tuple(range(len(self.flax)))
        return Layout(self.own, self.own, self.flax, self.flax, axes, self.flax)

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(self.view).transpose(self.axes).reshape(self.torch)

    def to_flax(self, array: np.ndarray) -> np.ndarray:
        permuted = array.reshape([self.view[axis] for axis in self.axes])
        return permuted.transpose(np.argsort(self.axes)).reshape(self.flax)


def layouts(
    variables: PyTree,
    rename: Mapping[str, str] | None,
    flattened: Mapping[str, Sequence[int]] | None,
) -> list[Layout]:
    """Returns the layout of each array of `variables`, in the tree's own order.

    Raises:
      ValueError: these are params and no variables, two arrays get one name, or
        `rename` or `flattened` is no mapping, names what is not there or does not fit.
    """
    if not isinstance(variables, Mapping):
        kind = type(variables).__name__
        raise ValueError(
            f"variables is a {kind}: give the dictionary that init returns"
        )
    if flattened is not None and not isinstance(flattened, Mapping):
        raise ValueError(f"flattened={flattened!r} is no {{module: (channels, ...)}}")
    if rename is not None and not isinstance(rename, Mapping):
        raise ValueError(f"rename={rename!r} is no {{path: PyTorch's name}}")
    if variables and not {"params", "batch_stats"} & set(variables):
        raise ValueError(
            f"variables has {', '.join(map(repr, variables))} and no 'params': give the"
            " dictionary that init returns, such as {'params': params}"
        )
    rename, flattened = rename or {}, dict(flattened or {})
    modules, arrays, found = [], [], []
    for keys, leaf in jax.tree.leaves_with_path(variables):
        collection, *path = (_key(key) for key in keys)
        module = ".".join(path[:-1])
        modules.append(module)
        arrays.append(".".join(path))
        sizes = flattened.get(renamed(module, rename))
        layout = _layout(collection, path, leaf.shape, rename, sizes)
        found.append(_renamed_alone(layout, rename.get(arrays[-1])))
    prefixes = {p for m in modules for p in _prefixes(m)}
    _check_used("rename", [name for name in rename if name not in arrays], prefixes)
    kernels = {renamed(module, rename) for module in modules}
    _check_used("flattened", flattened, kernels)
    for name, count in Counter(layout.name for layout in found).items():
        if count > 1:
            raise ValueError(f"two arrays of variables have the PyTorch name {name!r}")
    return found


def with_own_names(
    rename: Mapping[str, str] | None,
    variables: PyTree,
    state_dict: Mapping[str, Any],
    flattened: Mapping[str, Sequence[int]] | None,
) -> dict[str, str]:
    """Returns `rename` with what PyTorch calls as Flax does: a `scale` of one's own."""
    arrays = (
        ".".join(map(_key, keys[1:]))
        for keys, _ in jax.tree.leaves_with_path(variables)
    )
    named = zip(arrays, layouts(variables, rename, flattened), strict=True)
    own = {
        array: layout.own
        for array, layout in named
        if layout.name not in state_dict and layout.own in state_dict
    }
    return {**(rename or {}), **own}


def _layout(
    collection: str,
    path: Sequence[str],
    shape: tuple[int, ...],
    rename: Mapping[str, str],
    sizes: Sequence[int] | None,
) -> Layout:
    module, leaf = renamed(".".join(path[:-1]), rename), path[-1]
    names = STATISTICS if collection == "batch_stats" else PARAMETERS
    name, own = (
        ".".join(filter(None, [module, last])) for last in (names.get(leaf, leaf), leaf)
    )
    view, axes = shape, tuple(range(len(shape)))
    if leaf == "kernel" and len(shape) > 1:
        if sizes is not None:  # the kernel of a convolution as large as the map
            channels, *spatial = sizes
            view = (*spatial, channels, shape[-1])
            if len(shape) != 2 or math.prod(view) != math.prod(shape):
                raise ValueError(
                    f"flattened={{{module!r}: {tuple(sizes)}}} has"
                    f" {math.prod(sizes)} features; {name} has shape {shape}"
                )
        last = len(view) - 1
        axes = (last, last - 1, *range(last - 1))
    elif leaf.startswith(("weight_ih", "weight_hh")) and len(shape) == 2:
        axes = (1, 0)
    torch = tuple(view[axis] for axis in axes)
    if view != shape:
        torch = (torch[0], math.prod(torch[1:]))
    if leaf == "negative_slope":
        torch = torch or (1,)
    return Layout(name, own, shape, view, axes, torch)


def _renamed_alone(layout: Layout, name: str | None) -> Layout:
    """Returns it under a name of its own; a kernel that is no `weight`, as it is."""
    if name is None:
        return layout
    last, torch, own = (n.rpartition(".")[-1] for n in (name, *layout[:2]))
    layout = layout._replace(name=name, own=name)
    return layout if torch in (last, own) else layout.as_it_is()


def _key(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)


def _prefixes(module: str) -> Iterator[str]:
    """Yields the module's name and those of the modules around it, innermost first."""
    while module:
        yield module
        module = module.rpartition(".")[0]
    yield ""


def renamed(module: str, rename: Mapping[str, str]) -> str:
    """Returns a module's path with the longest beginning that `rename` has replaced."""
    for prefix in _prefixes(module):
        if prefix in rename:
            rest = module[len(prefix) :].removeprefix(".")
            return ".".join(filter(None, [rename[prefix], rest]))
    return module


def _check_used(argument: str, given: Iterable[str], there: set[str]) -> None:
    for name in given:
        if name not in there:
            modules = ", ".join(sorted(filter(None, there))) or "no named module"
            raise ValueError(f"{argument} names {name!r}, but there is {modules}")
