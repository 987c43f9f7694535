"""From a function to its graph."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from jaxtyping import PyTree

from jaxdl.backend import as_defined
from jaxdl.graph.drafts import CALLS, Drafts, called
from jaxdl.graph.nodes import Graph
from jaxdl.graph.scopes import Scope

UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)


def trace(function: Callable, *args: Any, expand: bool = True) -> Graph:
    """Returns the operations that `function(*args)` computes, without computing them.

    Every leaf of `args` is an array, a number, or a `jax.ShapeDtypeStruct` for one.
    Names are paths of scopes: those of `jax.named_scope`, which Flax enters for its
    modules, and under "gradients" again for what backpropagation adds. A function in a
    function (`jit`, `custom_jvp`, ...) is a scope if it has several operations. A
    parameter is in the scope of its module.

    A loop's body is there once, in a scope "scan" or "while", from "carry", the state
    before a step, to "next_carry", the state after it; "element" is what the step is
    given, "stacked" what it leaves. A scope "cond" has all branches and "result".

    Without `expand`, what has a derivative of its own stays one node: loops, branches,
    functions with a custom derivative. Such a graph is small enough to draw, and the
    one whose values and gradients can be computed.

    Of two nodes with one name the second is called "add_b".

    >>> graph = trace(lambda w, x: (x + w) * (w + 1), 1.0, 2.0)
    >>> for node in graph.nodes:
    ...     print(node.name, node.inputs)
    w ()
    x ()
    add ('x', 'w')
    constant ()
    add_b ('w', 'constant')
    mul ('add', 'add_b')
    output ('mul',)

    Raises:
      ValueError: a leaf of `args` is no array, the function needs a value that is
        known at run time only, or it returns no array.
    """
    paths = _argument_paths(function, args)
    name = getattr(function, "__name__", type(function).__name__)
    closed, results = to_jaxpr(name, function, *args)
    drafts = Drafts(expand)
    arguments = [
        drafts.add(path, "input", (), [var.aval])[0]
        for path, var in zip(paths, closed.jaxpr.invars, strict=True)
    ]
    returned = drafts.add_all(_without_outer_call(closed), arguments, ())
    leaves = jax.tree.leaves_with_path(results)
    for (keys, result), source in zip(leaves, returned, strict=True):
        drafts.add(("output", *map(_part, keys)), "output", [source], [result])
    return Graph(drafts.nodes(), expand)


@contextmanager
def traced_as(name: str) -> Iterator[None]:
    """Traces operations as they are defined, in words for what cannot be traced.

    Raises ValueError, as `to_jaxpr`.
    """
    try:
        with as_defined(True):
            yield
    except UNTRACEABLE as error:
        raise ValueError(
            f"{name} cannot be traced, since it needs a value that is known at run time"
            f" only ({str(error).splitlines()[0]}): use jnp.where or jax.lax.cond, or"
            " fix the argument with functools.partial"
        ) from error


def to_jaxpr(name: str, function: Callable, *args: Any) -> tuple[Any, PyTree]:
    """Returns a function's jaxpr and the shapes of its results. Errors call it `name`.

    Raises:
      ValueError: the function needs a value that is known at run time only, or it
        returns no array.
    """
    with traced_as(name):
        jaxpr, results = jax.make_jaxpr(function, return_shape=True)(*args)
    if not jax.tree.leaves(results):
        raise ValueError(f"{name} returns no array: there is nothing to trace")
    return jaxpr, results


def _argument_paths(function: Callable, args: tuple) -> list[Scope]:
    """Returns the path of each array in `args`, beginning with the argument's name."""
    paths: list[Scope] = []
    for name, value in zip(_argument_names(function, args), args, strict=True):
        for path, leaf in jax.tree.leaves_with_path(value):
            paths.append((*name, *map(_part, path)))
            is_array = hasattr(leaf, "shape") and hasattr(leaf, "dtype")
            if not is_array and not isinstance(leaf, int | float | complex):
                raise ValueError(
                    f"argument {'/'.join(paths[-1])} is {leaf!r}, which is no array:"
                    " fix it with functools.partial"
                )
    return paths


def _argument_names(function: Callable, args: tuple) -> list[Scope]:
    signature = inspect.signature(function)
    names: list[Scope] = []
    for name, value in signature.bind(*args).arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            names += [(name, str(i)) for i in range(len(value))]
        else:
            names.append((name,))
    return names


def _part(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)


def _without_outer_call(closed: Any) -> Any:
    """Takes off a `jit` around the whole function, which would be one scope for all."""
    jaxpr = closed.jaxpr
    while len(jaxpr.eqns) == 1:
        (equation,) = jaxpr.eqns
        whole = (equation.invars, equation.outvars) == (jaxpr.invars, jaxpr.outvars)
        if equation.primitive.name not in CALLS or not whole:
            break
        closed = called(equation)
        jaxpr = getattr(closed, "jaxpr", closed)
    return closed
