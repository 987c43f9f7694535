"""One function run for many members inside one program."""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import jax
from jax import lax
from jaxtyping import PyTree

from jaxdl.training import equations

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr

How = Literal["auto", "vmap", "map"]

OWN_BYTES = 2**18
"""members whose own arrays are as large as this go one after another on a CPU"""

MARK = 8191
"""a number of members, prime, that shows in the shapes of all that is theirs"""


def run_members(
    run: Callable[[PyTree], PyTree],
    members: PyTree,
    *,
    how: How = "auto",
    block_size: int | None = None,
) -> PyTree:
    """Returns `run(member)` for every member, stacked: pure and uncompiled.

    `members` is a pytree of arrays that share a leading axis of members. What `run`
    closes over is shared by all of them.

    "vmap" runs them at once, `block_size` at a time if there is one, in the memory of
    as many. "map" runs them one after another, in the memory of one and with the bits
    of a single run. "auto" takes the faster: "vmap" on accelerators. On a CPU that is
    so for small members only, which overhead dominates; it takes "map" if there is a
    convolution, or if in any loop of `run` a member has an array of its own (weights
    have one; a batch that all share is not their own) of 256 KiB or more.

    Raises:
      ValueError: there are no members, their arrays differ in length, `block_size` is
        below 1, or there is no such `how`.
    """
    if how not in ("auto", "vmap", "map"):
        raise ValueError(f"how={how!r} is not 'auto', 'vmap' or 'map'")
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size={block_size} is below 1")
    size = _count(members)
    if size == 1:
        only = run(jax.tree.map(lambda values: values[0], members))
        return jax.tree.map(lambda result: result[None], only)
    if how == "auto":
        how = choose_how(run, members)
    if how == "map":
        return lax.map(run, members)
    if block_size is None or block_size >= size:
        return jax.vmap(run)(members)
    return lax.map(run, members, batch_size=block_size)


def choose_how(
    run: Callable[[PyTree], PyTree], members: PyTree
) -> Literal["vmap", "map"]:
    """Returns "vmap" or "map", whichever `run_members` should be faster with here."""
    if jax.default_backend() != "cpu":
        return "vmap"
    marked = jax.tree.map(
        lambda values: jax.ShapeDtypeStruct((MARK, *values.shape[1:]), values.dtype),
        members,
    )
    jaxpr = jax.make_jaxpr(jax.vmap(run))(marked).jaxpr
    if any(eqn.primitive.name == "conv_general_dilated" for eqn in equations(jaxpr)):
        return "map"
    return "map" if max(_own_bytes(jaxpr), default=0) >= OWN_BYTES else "vmap"


def _own_bytes(jaxpr: "Jaxpr") -> Iterator[float]:
    """Yields the sizes, for one member, of its own arrays that are made in loops."""
    from jax.extend.core import jaxprs_in_params  # slow to import, as in training

    for loop in equations(jaxpr):
        if loop.primitive.name in ("scan", "while"):
            for body in jaxprs_in_params(loop.params):
                for eqn in equations(body):
                    for array in (variable.aval for variable in eqn.outvars):
                        shape = array.shape  # type: ignore[attr-defined]
                        itemsize = array.dtype.itemsize  # type: ignore[attr-defined]
                        if any(axis and axis % MARK == 0 for axis in shape):
                            yield math.prod(shape) * itemsize / MARK


def _count(members: PyTree) -> int:
    lengths = {
        jax.tree_util.keystr(path, simple=True, separator="/"): len(values)
        for path, values in jax.tree.leaves_with_path(members)
    }
    if not lengths or 0 in lengths.values():
        raise ValueError("there are no members to run")
    if len(set(lengths.values())) > 1:
        raise ValueError(f"members have arrays of different lengths: {lengths}")
    return next(iter(lengths.values()))
