"""Pytrees of arrays on disk, through orbax."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def save(directory: str | Path, tree: PyTree) -> None:
    """Writes a pytree of arrays to a new directory: all of it or, on failure, nothing.

    Raises:
      FileExistsError: the directory exists already.
      OSError: it cannot be made.
    """
    from orbax.checkpoint import v1 as ocp

    path = Path(directory).absolute()
    if path.exists():
        raise FileExistsError(f"{directory} exists already")
    path.parent.mkdir(parents=True, exist_ok=True)  # orbax hangs where it cannot
    ocp.save(path, tree)


def load(directory: str | Path, like: PyTree) -> PyTree:
    """Reads a pytree that has the structure, shapes and dtypes of `like`.

    `like` holds arrays, or what `jax.eval_shape` makes of them.

    Raises:
      FileNotFoundError: there is no checkpoint in `directory`.
      ValueError: what is there is damaged, or differs from `like` in names, shapes or
        dtypes (float64 needs jax_enable_x64); the message lists every difference.
    """
    from orbax.checkpoint import v1 as ocp

    path = Path(directory).absolute()
    if not ocp.is_orbax_checkpoint(path):
        raise FileNotFoundError(f"{directory} holds no checkpoint")
    try:
        metadata = ocp.metadata(path).metadata
        if metadata is None:
            raise ValueError("a file of it is damaged or missing")
        found, wanted = _leaves(metadata), _leaves(like)
        differences = _differences(found, wanted)
        if not differences:
            # Concrete arrays say where to put what is read, on whatever device.
            target = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
            tree = jax.tree.map(jnp.asarray, ocp.load(path, target))
            differences = _differences(_leaves(tree), wanted)
    except Exception as error:  # orbax has many, with reasons of many lines
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{directory} cannot be read: {reason}") from error
    if differences:
        raise ValueError("\n".join([f"{directory} does not fit:", *differences]))
    return tree


def _differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return [
        f"  {name or 'the tree'}: wanted {wanted.get(name, 'nothing')},"
        f" found {found.get(name, 'nothing')}"
        for name in sorted(found | wanted)
        if found.get(name) != wanted.get(name)
    ]


def _leaves(tree: PyTree) -> dict[str, str]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): _describe(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _describe(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"
