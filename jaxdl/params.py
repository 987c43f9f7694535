"""Parameters by path: what PyTorch does with `named_parameters` and their names.

A path is the keys on the way to an array joined by "/", such as "fc1/kernel". A pattern
is one of the standard library's `fnmatch`, compared case and all: "*/kernel", "fc1/*",
"*". A star also matches "/", so "*/kernel" finds kernels at any depth.

All functions take any pytree: nested dicts, lists, tuples, NamedTuples, Flax's own.
"""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray, PyTree

KINDS: Any = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
"""kinds of numbers, of which each holds those before it"""


def paths(params: PyTree) -> dict[str, Any]:
    """Returns every array by its path, in the tree's own order.

    Raises:
      ValueError: two arrays have one path, because a key contains "/".

    >>> list(paths({"fc1": {"kernel": 1.0, "bias": 2.0}, "scales": [3.0, 4.0]}))
    ['fc1/bias', 'fc1/kernel', 'scales/0', 'scales/1']
    """
    named: dict[str, Any] = {}
    for keys, leaf in jax.tree.leaves_with_path(params):
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        if path in named:
            raise ValueError(f"two parameters have the path {path!r}")
        named[path] = leaf
    return named


def get(params: PyTree, path: str) -> Any:
    """Returns the array at `path`, which is no pattern here.

    Raises:
      ValueError: there is no array at `path`.

    >>> get({"fc1": {"kernel": 1.0, "bias": 2.0}}, "fc1/bias")
    2.0
    """
    named = paths(params)
    _check_path(path, named)
    return named[path]


def put(params: PyTree, path: str, value: ArrayLike) -> PyTree:
    """Returns `params` with `value` for the array at `path`, in that array's type.

    Raises:
      ValueError: there is no array at `path`, it has another shape than `value`, or its
        kind of numbers does not hold the value's, as integers do not hold fractions.

    >>> params = {"fc1": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    >>> kernel = get(params, "fc1/kernel").at[0, 0].set(100)
    >>> put(params, "fc1/kernel", kernel)["fc1"]["kernel"]
    Array([[100.,   1.],
           [  1.,   1.]], dtype=float32)
    """
    named = paths(params)
    _check_path(path, named)
    old = named[path]
    if jnp.shape(value) != jnp.shape(old):
        raise ValueError(
            f"{path} has shape {jnp.shape(old)}, and its value {jnp.shape(value)}"
        )
    dtype, given = jnp.result_type(old), jnp.result_type(value)
    if not fits(given, dtype):
        raise ValueError(f"{path} holds {dtype}, which {given} does not fit into")
    named[path] = jnp.asarray(value, dtype)
    return _like(params, list(named.values()))


def select(params: PyTree, *patterns: str) -> dict[str, Any]:
    """Returns the arrays whose path matches any of the patterns, by path.

    Raises:
      ValueError: a pattern matches nothing.

    >>> select({"fc1": {"kernel": 1.0, "bias": 2.0}}, "*/bias")
    {'fc1/bias': 2.0}
    """
    named = paths(params)
    found = {path for pattern in patterns for path in _matching(pattern, named)}
    return {path: leaf for path, leaf in named.items() if path in found}


def matches(params: PyTree, *patterns: str) -> PyTree:
    """Returns `params` with True where a path matches any of the patterns, else False.

    It is a mask as `optax.masked` takes it.

    Raises:
      ValueError: a pattern matches nothing.

    >>> matches({"fc1": {"kernel": 1.0, "bias": 2.0}}, "*/bias")
    {'fc1': {'bias': True, 'kernel': False}}
    """
    found = select(params, *patterns)
    return _like(params, [path in found for path in paths(params)])


def map_matching(
    function: Callable[[Any], Any], params: PyTree, *patterns: str
) -> PyTree:
    """Returns `params` with `function` applied where a path matches any pattern.

    Raises:
      ValueError: a pattern matches nothing.

    >>> map_matching(lambda w: 0 * w, {"fc1": {"kernel": 1.0, "bias": 2.0}}, "*/bias")
    {'fc1': {'bias': 0.0, 'kernel': 1.0}}
    """
    mask = matches(params, *patterns)
    return jax.tree.map(lambda hit, p: function(p) if hit else p, mask, params)


def first_matches(params: PyTree, patterns: Iterable[str]) -> dict[str, str]:
    """Returns, by path, the first of the patterns that matches it.

    Paths that no pattern matches are left out. So "*" as the last one means the rest.

    Raises:
      ValueError: a pattern matches nothing, or only what those before it match too.

    >>> first_matches({"kernel": 1.0, "bias": 2.0, "scale": 3.0}, ["bias", "*"])
    {'bias': 'bias', 'kernel': '*', 'scale': '*'}
    """
    named = paths(params)
    first: dict[str, str] = {}
    for pattern in patterns:
        new = [path for path in _matching(pattern, named) if path not in first]
        if not new:
            raise ValueError(
                f"{pattern!r} matches only what patterns before it do; the first wins"
            )
        first |= dict.fromkeys(new, pattern)
    return {path: first[path] for path in named if path in first}


def initialize(
    key: PRNGKeyArray, params: PyTree, initializers: Mapping[str, Callable[..., Array]]
) -> PyTree:
    """Returns `params` with what the patterns match drawn anew, as `net.apply(init)`.

    `initializers` maps patterns to initialisers (`jaxdl.initializers`); the first
    pattern that matches wins, and what none matches stays as it is. Every parameter's
    key is `key` folded with its path, so its draw does not depend on the others.

    An initialiser is any function (key, shape, dtype) -> array. Here kernels come from
    U(5, 10) and U(-10, -5) with probability ¼ each and are 0 otherwise:

    >>> from jaxdl.initializers import constant, uniform
    >>> def far_or_zero(key, shape, dtype):
    ...     w = uniform(-10, 10)(key, shape, dtype)
    ...     return w * (abs(w) >= 5)
    >>> params = {"fc1": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
    >>> params = initialize(
    ...     jax.random.key(0), params, {"fc1/kernel": far_or_zero, "*": constant(42)}
    ... )
    >>> params["fc1"]["bias"]
    Array([42., 42., 42.], dtype=float32)

    Raises:
      ValueError: a pattern matches nothing that is not matched before it, or an
        initialiser returns another shape.
    """
    patterns = first_matches(params, initializers)

    def draw(path, leaf):
        if path not in patterns:
            return leaf
        path_key = jax.random.fold_in(key, crc32(path.encode()))
        drawn = initializers[patterns[path]](path_key, leaf.shape, leaf.dtype)
        if jnp.shape(drawn) != leaf.shape:
            raise ValueError(
                f"the initialiser of {patterns[path]!r} returns shape"
                f" {jnp.shape(drawn)} for {path} of shape {leaf.shape}"
            )
        return jnp.asarray(drawn, leaf.dtype)

    drawn = [draw(path, leaf) for path, leaf in paths(params).items()]
    return _like(params, drawn)


def fits(given: Any, dtype: Any) -> bool:
    """Tells whether `dtype` holds the kind of numbers that `given` does, if rounded.

    >>> fits(jnp.int32, jnp.bfloat16), fits(jnp.bfloat16, jnp.int32)
    (True, False)
    """
    return _kind(given) <= _kind(dtype)


def _kind(dtype: Any) -> int:
    found = [i for i, kind in enumerate(KINDS) if jnp.issubdtype(dtype, kind)]
    return found[0] if found else len(KINDS)


def _matching(pattern: str, named: dict[str, Any]) -> list[str]:
    found = [path for path in named if fnmatchcase(path, pattern)]
    if not found:
        raise ValueError(f"{pattern!r} matches none of {_all_of(named, pattern)}")
    return found


def _check_path(path: str, named: dict[str, Any]) -> None:
    if path not in named:
        raise ValueError(f"{path!r} is none of {_all_of(named, path)}")


def _all_of(named: dict[str, Any], given: str) -> str:
    """Lists the paths, and the one that may have been meant."""
    close = get_close_matches(given, named, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{', '.join(named)}{hint}"


def _like(params: PyTree, leaves: list[Any]) -> PyTree:
    return jax.tree.unflatten(jax.tree.structure(params), leaves)
