"""A PyTorch state dict made of Flax variables, and variables made of a state dict."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxdl.torch_weights.arrays import as_numpy
from jaxdl.torch_weights.layouts import Layout, layouts, with_own_names

# Counts of batches: Flax's own BatchNorm and files older than PyTorch 0.4.1 lack them.
COUNTER = "num_batches_tracked"


class MisfitError(ValueError):
    """A state dict that has other names or shapes than a model."""


def from_state_dict(
    state_dict: Mapping[str, Any],
    variables: PyTree,
    *,
    rename: Mapping[str, str] | None = None,
    flattened: Mapping[str, Sequence[int]] | None = None,
    ignore: Sequence[str] = (),
) -> PyTree:
    """Returns `variables` with the values of a PyTorch model's state dict.

    `variables` is what a Flax module's `init` returns, or `jax.eval_shape` of it;
    `state_dict` maps names to tensors or NumPy arrays. Names correspond: the path of a
    module joined by "." is PyTorch's, "kernel", "scale" and "embedding" are `weight`,
    the statistics "mean" and "var" `running_mean` and `running_var`, and everything
    else has one name. Linear weights (O, I) become (I, O) kernels, convolutions
    (O, I, *k) become (*k, I, O), recurrent matrices are transposed. Transposed
    convolutions are not known: neither names nor shapes tell them from others, so those
    of as many channels in as out load as if they were, and compute something else.

    Where PyTorch has no `weight` and a parameter that is called `kernel`, `scale` or
    `embedding` itself, such as one of a module of yours, it is taken as it is.

    Modules of other names are given by `rename`, from a Flax prefix to PyTorch's, the
    longest first: {"conv1": "0"} for an nn.Sequential, {"": "body"} for all. A single
    array may be renamed too, {"bias": "head.bias"}; a `kernel`, `scale` or `embedding`
    that becomes no `weight` is taken as it is.

    `flattened` names, as PyTorch does, the linear layers that read a flattened map, and
    the (channels, *sizes) of the map: {"fc1": (16, 4, 4)}. PyTorch flattens channels
    first and Flax channels last, so that the inputs of such a layer have another order.
    Nothing in the state dict tells.

    Entries whose PyTorch names match a pattern (`fnmatch`) in `ignore` are not read,
    and `variables` keeps its own: ("fc.*",) for a new head.

    Values take the types of `variables`, rounded where those are narrower, as
    load_state_dict does. Counters (num_batches_tracked) may be absent on either side.

    Raises:
      MisfitError: a ValueError, with a table of all entries that are missing, unused or
        of another shape.
      ValueError: `state_dict` is no mapping from names; `rename`, `flattened` or
        `ignore` names what is not there; or a value does not survive its type: a finite
        number becomes infinite, an integer another or a fraction, or float64 is wanted
        without jax_enable_x64.
    """
    if not isinstance(state_dict, Mapping):
        kind = type(state_dict).__name__
        raise ValueError(f"state_dict is a {kind}: give what its state_dict() returns")
    for name in state_dict:
        if not isinstance(name, str):
            raise ValueError(f"state_dict has the key {name!r}, which is no name")
    rename = with_own_names(rename, variables, state_dict, flattened)
    wanted = layouts(variables, rename, flattened)
    leaves, tree = jax.tree.flatten(variables)
    given = {
        name: value for name, value in state_dict.items() if not _ignored(name, ignore)
    }
    arrays = {name: as_numpy(name, value) for name, value in given.items()}
    _check_patterns(ignore, [*state_dict, *(layout.name for layout in wanted)])
    kept = {
        layout.name
        for layout in wanted
        if _ignored(layout.name, ignore) or _is_absent_counter(layout.name, arrays)
    }
    _check_fit([layout for layout in wanted if layout.name not in kept], arrays)
    return jax.tree.unflatten(
        tree,
        [
            _kept(layout.name, leaf)
            if layout.name in kept
            else _as_wanted(layout.name, layout.to_flax(arrays[layout.name]), leaf)
            for layout, leaf in zip(wanted, leaves, strict=True)
        ],
    )


def to_state_dict(
    variables: PyTree,
    *,
    rename: Mapping[str, str] | None = None,
    flattened: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, np.ndarray]:
    """Returns the state dict of the PyTorch twin: the inverse of `from_state_dict`.

    Arrays are contiguous copies of the same type; counters are int64, as PyTorch's. For
    load_state_dict, make each a tensor by torch.from_numpy; bfloat16, which that does
    not take, goes through `write_weights` and safetensors.torch.load_file.

    A `kernel`, `scale`, `embedding` or `negative_slope` is written as `weight`, though
    it be a parameter of your own, unless it is renamed: nothing tells it from those of
    the layers.

    Gradients, or anything else of the shapes of `variables`, are converted likewise.

    Raises:
      ValueError: as `from_state_dict` of its arguments.
    """
    found = layouts(variables, rename, flattened)
    state_dict = {}
    for layout, leaf in zip(found, jax.tree.leaves(variables), strict=True):
        dtype = np.int64 if _is_counter(layout.name) else leaf.dtype
        array = layout.to_torch(np.asarray(leaf))
        state_dict[layout.name] = np.array(array, dtype, order="C")
    return state_dict


def _check_fit(wanted: Sequence[Layout], given: Mapping[str, np.ndarray]) -> None:
    """Raises MisfitError, with a table, unless names and shapes are the same."""
    names = {layout.name for layout in wanted}
    missing = [layout for layout in wanted if layout.name not in given]
    unused = {
        name: array
        for name, array in given.items()
        if name not in names and not _is_counter(name)
    }
    rows = [
        ("missing", layout.name, f"{layout.torch}{_hint(layout, unused)}")
        for layout in missing
    ]
    rows += [("unused", name, f"{array.shape}") for name, array in unused.items()]
    rows += list(_misshapen(wanted, given))
    if rows:
        width = max(len(name) for _, name, _ in rows)
        lines = [f"  {what:<8} {name:<{width}}  {rest}" for what, name, rest in rows]
        raise MisfitError("\n".join(["the state dict does not fit the model:", *lines]))


def _misshapen(
    wanted: Sequence[Layout], given: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, str, str]]:
    for layout in wanted:
        shape = given[layout.name].shape if layout.name in given else layout.torch
        if shape != layout.torch:
            hint = "; that is Flax's layout" if shape == layout.flax else ""
            yield "shape", layout.name, f"wanted {layout.torch}, found {shape}{hint}"


def _hint(layout: Layout, unused: Mapping[str, np.ndarray]) -> str:
    """Names the unused entry of that shape and kind that has the most similar name."""
    kind = layout.name.rpartition(".")[-1]
    alike = [
        name
        for name, array in unused.items()
        if array.shape == layout.torch and name.rpartition(".")[-1] == kind
    ]
    if not alike:
        return ""
    best = max(alike, key=lambda name: SequenceMatcher(a=name, b=layout.name).ratio())
    return f"  did you mean {best}? (rename)"


def _as_wanted(name: str, array: np.ndarray, leaf: Any) -> jax.Array:
    """Returns a copy, which later changes of the tensor do not reach."""
    dtype = np.dtype(leaf.dtype)
    floats = jnp.issubdtype(dtype, jnp.floating)
    rounds = floats and jnp.issubdtype(array.dtype, jnp.floating)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
        held = np.isfinite(cast) == np.isfinite(array) if rounds else cast == array
    if not np.all(held):
        raise ValueError(f"{name} has values of {array.dtype} that {dtype} cannot hold")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(f"{name} is wanted in {dtype}, which needs jax_enable_x64")
    return jnp.asarray(cast)  # which may share the memory of what astype copied


def _kept(name: str, leaf: Any) -> Any:
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if _is_counter(name):
        return jnp.zeros(leaf.shape, leaf.dtype)
    raise ValueError(f"{name} is ignored, but variables has a shape and no value of it")


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[-1] == COUNTER


def _is_absent_counter(name: str, given: Mapping[str, np.ndarray]) -> bool:
    return _is_counter(name) and name not in given


def _ignored(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_patterns(patterns: Sequence[str], names: Sequence[str]) -> None:
    if isinstance(patterns, str):
        raise ValueError(f"ignore={patterns!r} is one string; give ({patterns!r},)")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"ignore={pattern!r} matches none of {', '.join(names)}")
