"""Pytrees of arrays on disk, through orbax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree


def save(directory: str | Path, tree: PyTree) -> None:
    """Writes a pytree of arrays to a new directory: all of it or, on failure, nothing.

    Raises:
      FileExistsError: the directory exists already.
    """
    from orbax.checkpoint import v1 as ocp

    path = Path(directory).absolute()
    if path.exists():
        raise FileExistsError(f"{directory} exists already")
    ocp.save(path, tree)


def load(directory: str | Path, like: PyTree) -> PyTree:
    """Reads a pytree that has the structure, shapes and dtypes of `like`.

    `like` holds arrays, or what `jax.eval_shape` makes of them.

    Raises:
      FileNotFoundError: there is no checkpoint in `directory`.
      ValueError: what is there differs from `like`; the message lists every difference.
    """
    from orbax.checkpoint import v1 as ocp

    path = Path(directory).absolute()
    if not ocp.is_orbax_checkpoint(path):
        raise FileNotFoundError(f"{directory} holds no checkpoint")
    found, wanted = _leaves(ocp.metadata(path).metadata), _leaves(like)
    differences = [
        f"  {name or 'the tree'}: wanted {wanted.get(name, 'nothing')},"
        f" found {found.get(name, 'nothing')}"
        for name in sorted(found | wanted)
        if found.get(name) != wanted.get(name)
    ]
    if differences:
        raise ValueError("\n".join([f"{directory} does not fit:", *differences]))
    # Concrete arrays say where to put what is read, so that another device can read it.
    target = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    return jax.tree.map(jax.numpy.asarray, ocp.load(path, target))


def _leaves(tree: PyTree) -> dict[str, str]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): _describe(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _describe(leaf: Any) -> str:
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
