"""One train step on many devices and hosts.

    mesh = make_mesh()
    step = shard_step(make_train_step(loss_fn, optimizer), mesh)

is the step of one device, with its batch split over all: the same numbers to rounding,
batch statistics of the whole batch included. XLA divides the work and exchanges what
the devices need of each other. `docs/scaling.md` has the other ways, and the commands.

A spec is a `jax.sharding.PartitionSpec`: the mesh's axis over which each axis of an
array is split, or None. Specs are chosen by path (`jaxdl.params`). What none matches is
whole on every device.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxdl.params import first_matches, paths

Specs = Mapping[str, PartitionSpec]


def start_hosts(
    coordinator: str | None = None,
    count: int | None = None,
    index: int | None = None,
    *,
    timeout: int = 60,
) -> tuple[int, int]:
    """Joins the processes of a run, before JAX is first used; `jax.devices()` are all.

    Without arguments the cluster tells: SLURM, Cloud TPU, Open MPI, Kubernetes.
    Elsewhere the coordinator is process 0, as "address:port", and every process gets
    the `count` of them and its `index`. On CPU they talk through Gloo, JAX's default.

    A process that dies takes the others with it: within `timeout` seconds of its last
    sign of life they abort, with a message that names it. So a run ends and can be
    started again, on as many devices as are left, from its last checkpoint.

    Returns:
      (index, count) of this process: the `shard` of a `jaxdl.data.streaming.Stream`.

    Raises:
      ValueError: some arguments are given and others not, no cluster is found, or the
        index is not below the count.
      RuntimeError: JAX has been used already.
    """
    given = {"coordinator": coordinator, "count": count, "index": index}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < 3:
        raise ValueError(
            f"{', '.join(missing)} missing: give all of {', '.join(given)}"
        )
    if count is not None and index is not None and not 0 <= index < count:
        raise ValueError(f"index={index} is not below count={count}")
    if coordinator is not None and not coordinator.rpartition(":")[2].isdecimal():
        raise ValueError(f"coordinator={coordinator!r} is not address:port")
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=timeout,
            shutdown_timeout_seconds=timeout,
        )
    except ValueError as error:  # JAX's words name arguments of its own
        raise ValueError(
            f"no cluster is found ({error}); give {', '.join(given)}"
        ) from error
    return jax.process_index(), jax.process_count()


def make_mesh(axes: Mapping[str, int] | None = None) -> Mesh:
    """Arranges all devices of all hosts: along "data", or along the named axes.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.

    >>> make_mesh({"data": jax.device_count(), "model": 1}).axis_names
    ('data', 'model')
    """
    devices = jax.device_count()
    axes = {"data": devices} if axes is None else dict(axes)
    if any(size < 1 for size in axes.values()) or np.prod([*axes.values()]) != devices:
        raise ValueError(f"a mesh of {axes} does not take up the {devices} devices")
    auto = (AxisType.Auto,) * len(axes)
    return jax.make_mesh(tuple(axes.values()), tuple(axes), auto)


def shard_step(step: Callable, mesh: Mesh, specs: Specs | None = None) -> Callable:
    """Returns a train or evaluation step that works over a mesh; pure, uncompiled.

    The batch is split over the axis "data"; the state is whole on each device, but for
    what `specs` split: {"*/fc1/kernel": PartitionSpec(None, "model")} gives every
    device some outputs of a layer, in the parameters and in the optimiser's moments.
    It goes wherever the step goes: `compiled`, `make_epoch`, `fit`.

    Raises:
      ValueError: from the step, as `shardings`; or the mesh has no axis "data", or axes
        of another type than AxisType.Auto.
    """
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        raise ValueError(
            f"the mesh has axes of types {mesh.axis_types}: shardings follow by"
            " themselves along AxisType.Auto, as jaxdl.sharding.make_mesh makes them"
        )
    rows = _batch_sharding(mesh)
    constrain = jax.lax.with_sharding_constraint

    def sharded_step(state, batch, key_or_mask):
        state = constrain(state, shardings(state, mesh, specs))
        batch = jax.tree.map(lambda x: constrain(x, rows) if np.ndim(x) else x, batch)
        result = step(state, batch, key_or_mask)
        if isinstance(result, dict):  # an evaluation's metrics
            return result
        new, metrics = result
        return constrain(new, shardings(new, mesh, specs)), metrics

    return sharded_step


def shard_state(state: PyTree, mesh: Mesh, specs: Specs | None = None) -> PyTree:
    """Puts a tree on the devices of a mesh: whole on each, but for what `specs` split.

    Every host gives the same, of its own making or from a checkpoint. Random keys need
    not be put anywhere, and cannot be on several hosts.

    Raises:
      ValueError: as `shardings`.
    """
    return jax.device_put(state, shardings(state, mesh, specs))


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Puts a batch on the devices of a mesh, split over the axis "data".

    Every host gives its share of the rows, such as a `Stream` with a shard reads.

    Raises:
      ValueError: the rows do not divide by this host's devices along "data".
    """
    rows = _batch_sharding(mesh)
    here = np.vectorize(lambda device: device.process_index == jax.process_index())
    along = np.moveaxis(here(mesh.devices), mesh.axis_names.index("data"), 0)
    parts = int(along.reshape(len(along), -1).any(axis=1).sum())
    for path, leaf in paths(batch).items():
        if not np.ndim(leaf) or len(leaf) % parts:
            raise ValueError(
                f"{path or 'the batch'} of shape {np.shape(leaf)} does not split over"
                f" {parts} devices: its rows must be a multiple of {parts}"
            )
    return jax.make_array_from_process_local_data(rows, batch)


def shardings(tree: PyTree, mesh: Mesh, specs: Specs | None = None) -> PyTree:
    """Returns the sharding of every array of a tree, as `jax.jit` takes them.

    With `out_shardings=shardings(jax.eval_shape(init, key), mesh, specs)` parameters
    are made where they belong, which those too large for one device need.

    Raises:
      ValueError: a pattern matches nothing, or only what those before it match too; a
        spec names an axis that the mesh has not, is longer than an array has axes, or
        splits one that does not divide.
    """
    first = first_matches(tree, specs or {})
    placed = []
    for path, leaf in paths(tree).items():
        spec = specs[first[path]] if specs and path in first else PartitionSpec()
        _check_spec(path, np.shape(leaf), spec, mesh)
        placed.append(NamedSharding(mesh, spec))
    return jax.tree.unflatten(jax.tree.structure(tree), placed)


def gather(tree: PyTree) -> PyTree:
    """Returns every array whole, as NumPy's; all hosts must call it together.

    Keys stay JAX's.

    So `checkpoint.save(directory, gather(state))`, called by all of them, writes what
    any number of devices can load.
    """

    def whole(x):
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            numbers = whole(jax.random.key_data(x))
            return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(x))
        if isinstance(x, jax.Array) and not (
            x.is_fully_addressable or x.is_fully_replicated
        ):
            from jax.experimental.multihost_utils import process_allgather

            return process_allgather(x, tiled=True)
        return np.asarray(x)

    return jax.tree.map(whole, tree)


def place(tree: PyTree, devices: Mapping[str, jax.Device]) -> PyTree:
    """Puts each array on the device of the first pattern that its path matches.

    What no pattern matches stays where it is.

    Raises:
      ValueError: a pattern matches nothing, or only what those before it match too.

    >>> params = place({"front": 1.0, "back": 2.0}, {"back": jax.devices()[-1]})
    """
    first = first_matches(tree, devices)
    placed = [
        jax.device_put(leaf, devices[first[path]]) if path in first else leaf
        for path, leaf in paths(tree).items()
    ]
    return jax.tree.unflatten(jax.tree.structure(tree), placed)


def run_on(device: jax.Device, function: Callable) -> Callable:
    """Compiles a function for one device, to which its arguments move.

    Gradients move back the same way. What calls such functions for several devices
    cannot itself be compiled: a program has one set of devices.
    """
    program = jax.jit(function)

    def run(*arguments: Any) -> Any:
        return program(*jax.device_put(arguments, device))

    return run


def _batch_sharding(mesh: Mesh) -> NamedSharding:
    if "data" not in mesh.axis_names:
        raise ValueError(f"the mesh has {mesh.axis_names}, and no axis 'data' for rows")
    return NamedSharding(mesh, PartitionSpec("data"))


def _check_spec(
    path: str, shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh
) -> None:
    if len(spec) > len(shape):
        raise ValueError(f"{path} of shape {shape} has fewer axes than {spec}")
    for size, names in zip(shape, spec, strict=False):
        parts = 1
        for name in names if isinstance(names, tuple) else (names,) * bool(names):
            if name not in mesh.axis_names:
                axes = ", ".join(mesh.axis_names)
                raise ValueError(f"{spec} of {path}: {name!r} is not among {axes}")
            parts *= mesh.shape[name]
        if size % parts:
            raise ValueError(
                f"{path} of shape {shape} does not split by {spec}: {size} is no"
                f" multiple of {parts}"
            )
