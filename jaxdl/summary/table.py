"""What a model's layers give, hold and cost."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from jaxdl.graph.scopes import Scope
from jaxdl.graph.tracing import to_jaxpr, traced_as
from jaxdl.summary.flops import flops_by_scope, uncounted

MOST_ARRAYS = 3


class Row(NamedTuple):
    """A module or a scope, with all that lies within it.

    `path` is () for the whole. `output` has a `jax.ShapeDtypeStruct` for every array
    that the first call returns; a scope has none, nor what returns other things.
    """

    path: tuple[str, ...]
    kind: str
    output: PyTree
    parameters: int
    flops: int


class Summary(NamedTuple):
    """A table of layers, the first row being the whole. `str` gives it as text.

    `variables` counts what a module holds beside parameters, by collection: PyTorch's
    buffers. `uncounted` names the operations that `flops` leaves out.
    """

    rows: tuple[Row, ...]
    variables: dict[str, int]
    uncounted: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """The numbers that are trained."""
        return self.rows[0].parameters

    @property
    def flops(self) -> int:
        """The floating-point operations of one call."""
        return self.rows[0].flops

    def __str__(self) -> str:
        lines = _aligned(
            [
                ("layer", *(_label(row) for row in self.rows)),
                ("output", *(_arrays(row.output) for row in self.rows)),
                (
                    "parameters",
                    *(f"{r.parameters:,}" if r.parameters else "" for r in self.rows),
                ),
                ("FLOPs", *(f"{row.flops:,}" for row in self.rows)),
            ]
        )
        lines += [f"{name}: {count:,}" for name, count in self.variables.items()]
        if self.uncounted:
            lines.append(f"not in FLOPs: {', '.join(self.uncounted)}")
        return "\n".join(lines)


def summarize(model: Callable | Any, *args: Any, **kwargs: Any) -> Summary:
    """Returns a table of what a Flax module, or any function, does with `args`.

    Nothing is computed: a `jax.ShapeDtypeStruct` may stand for an array. What is
    neither is passed on as it is. A row counts all that lies within it, and each call
    of a layer that is called more than once. A function has no parameters, and a row
    for each of its scopes (`jaxdl.graph.trace` says which).

    FLOPs are 2 for each multiplication and addition of matrix products and
    convolutions, and 1 for each number that other arithmetic gives. Padding counts, as
    for torch.utils.flop_counter, which also counts of a kernel larger than the image
    what can only meet padding: 9 times as much for 3x3 on a single pixel.
    `flax.linen.tabulate` asks XLA, which counts a loop once however often it runs.

    >>> import jax.numpy as jnp
    >>> from flax import linen as nn
    >>> model = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(1)])
    >>> print(summarize(model, jnp.ones((2, 3))))
    layer               output        parameters  FLOPs
    ---------------------------------------------------
    Sequential          float32[2,1]          21     82
      layers_0 (Dense)  float32[2,4]          16     56
      layers_2 (Dense)  float32[2,1]           5     18

    Raises:
      ValueError: the function needs a value that is known at run time only, or returns
        no array.
    """
    modules = [kind.__module__ for kind in type(model).__mro__]
    is_linen = any(module.startswith("flax.linen") for module in modules)
    return (_of_module if is_linen else _of_function)(model, args, kwargs)


def _of_function(function: Callable, args: tuple, kwargs: dict) -> Summary:
    arrays, call = _split(args, kwargs)
    name = getattr(function, "__name__", type(function).__name__)
    jaxpr, output = to_jaxpr(name, lambda arrays: call(function, arrays), arrays)
    flops = flops_by_scope(jaxpr)
    order: dict[Scope, int] = {}
    for scope in flops:
        for length in range(1, len(scope) + 1):
            order.setdefault(scope[:length], len(order))
    paths = sorted(order, key=lambda p: [order[p[: k + 1]] for k in range(len(p))])
    scopes = [
        Row(
            path,
            "",
            None,
            0,
            sum(n for s, n in flops.items() if path == s[: len(path)]),
        )
        for path in paths
    ]
    whole = Row((), name, output, 0, flops.total())
    return Summary((whole, *scopes), {}, tuple(sorted(uncounted(jaxpr))))


def _of_module(module: Any, args: tuple, kwargs: dict) -> Summary:
    from flax import linen as nn

    arrays, call = _split(args, kwargs)
    name, key = type(module).__name__, jax.random.key(0)
    init = lambda arrays: call(partial(module.init, key), arrays)
    with traced_as(name):
        variables = jax.eval_shape(init, arrays)

    kinds: dict[Scope, str] = {}
    outputs: dict[Scope, PyTree] = {}

    def record(method, args, kwargs, context):
        if context.method_name == "setup":
            return method(*args, **kwargs)
        path = context.module.path
        kinds.setdefault(path, type(context.module).__name__)
        # A scope of the path, beside those that Flax names less regularly.
        with jax.named_scope(_mark(path)):
            output = method(*args, **kwargs)
        if path not in outputs and _are_arrays(output):
            outputs[path] = jax.eval_shape(lambda: output)
        return output

    def apply(variables, arrays):
        settings = {"rngs": {"params": key}, "mutable": True}
        return call(partial(module.apply, variables, **settings), arrays)

    with nn.intercept_methods(record):
        jaxpr, _ = to_jaxpr(name, apply, variables, arrays)
    flops = flops_by_scope(jaxpr)
    rows = [
        Row(
            path,
            kind,
            outputs.get(path),
            _size(_at(variables.get("params", {}), path)),
            sum(n for scope, n in flops.items() if _mark(path) in scope),
        )
        for path, kind in kinds.items()
    ]
    others = {name: _size(tree) for name, tree in variables.items() if name != "params"}
    return Summary(tuple(rows), others, tuple(sorted(uncounted(jaxpr))))


def _split(args: tuple, kwargs: dict) -> tuple[list[Any], Callable]:
    """Returns the arrays in the arguments, and how to call a function with others."""
    leaves, tree = jax.tree.flatten((args, kwargs))
    places = [place for place, leaf in enumerate(leaves) if _is_array(leaf)]

    def call(function: Callable, arrays: Sequence[Any]) -> Any:
        given = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            given[place] = array
        args, kwargs = jax.tree.unflatten(tree, given)
        return function(*args, **kwargs)

    return [leaves[place] for place in places], call


def _are_arrays(output: Any) -> bool:
    if isinstance(output, Iterator):  # JAX is about to refuse those in trees
        return False
    return all(map(_is_array, jax.tree.leaves(output)))


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _mark(path: Scope) -> str:
    return "module " + "|".join(path).replace("/", "|").replace(".", "|")


def _at(tree: Any, path: Scope) -> Any:
    """Returns the part of nested dictionaries at a path, or an empty one."""
    for name in path:
        tree = tree.get(name, {})
    return tree


def _size(tree: PyTree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _label(row: Row) -> str:
    """Returns "Net" for the whole, "  conv1 (Conv)" or "  gradients" for its parts."""
    if not row.path:
        return row.kind
    kind = f" ({row.kind})" if row.kind else ""
    return "  " * len(row.path) + row.path[-1] + kind


def _arrays(output: PyTree) -> str:
    arrays = jax.tree.leaves(output)
    if len(arrays) > MOST_ARRAYS:
        return f"{len(arrays)} arrays"
    shapes = [",".join(map(str, array.shape)) for array in arrays]
    return ", ".join(
        f"{array.dtype}[{shape}]" for array, shape in zip(arrays, shapes, strict=True)
    )


def _aligned(columns: Sequence[Sequence[str]]) -> list[str]:
    """Returns lines of a table, numbers to the right, without columns of no entry."""
    columns = [column for column in columns if any(column[1:])]
    cells = []
    for column in columns:
        width = max(map(len, column))
        align = str.rjust if column[0] in ("parameters", "FLOPs") else str.ljust
        cells.append([align(cell, width) for cell in column])
    lines = ["  ".join(row).rstrip() for row in zip(*cells, strict=True)]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
