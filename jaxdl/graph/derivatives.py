"""Values and gradients at the nodes of a graph, and gradients as sums over paths."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdl.graph.nodes import Graph, Node

MOST_PATHS = 10_000


def node_values(graph: Graph, *args: Any) -> dict[str, Array]:
    """Returns what every node gives for these arguments, by `Node.ports`.

    Raises:
      ValueError: the graph was traced with `expand`, or for other arguments.
    """
    return _run(graph, _arguments(graph, args), {})


def node_gradients(graph: Graph, *args: Any) -> dict[str, Array]:
    """Returns the derivative of the graph's output by what every node gives.

    A zero is added to each value, and the output is differentiated by these zeros.
    Nodes that do not give real numbers have no entry.

    >>> from jaxdl.graph import trace
    >>> graph = trace(lambda w, x: (x + w) * (w + 1), 1.0, 2.0, expand=False)
    >>> gradients = node_gradients(graph, 1.0, 2.0)
    >>> float(gradients["add"]), float(gradients["w"])
    (2.0, 5.0)

    Raises:
      ValueError: as `node_values`, or there is not one output, a real number.
    """
    arguments, output = _arguments(graph, args), _only_output(graph)
    zeros = {
        port: jnp.zeros(kind.shape, kind.dtype)
        for port, kind in _kinds(graph).items()
        if _is_real(kind)
    }
    return jax.grad(lambda zeros: _run(graph, arguments, zeros)[output])(zeros)


class Path(NamedTuple):
    """A way through a graph, and the derivative of each node by the one before it."""

    nodes: tuple[str, ...]
    derivatives: tuple[Float[Array, ""], ...]

    @property
    def product(self) -> Float[Array, ""]:
        """What the path adds to the gradient by its first node."""
        return jnp.prod(jnp.asarray(self.derivatives))

    def __str__(self) -> str:
        factors = " * ".join(f"{float(d):.6g}" for d in self.derivatives) or "1"
        return f"{' -> '.join(self.nodes)}: {factors} = {float(self.product):.6g}"


def gradient_paths(graph: Graph, start: str, *args: Any) -> list[Path]:
    """Returns the paths from the node `start` to the output, through scalars only.

    By the chain rule the gradient is the sum of their products. A node that reads one
    value twice makes two paths.

    >>> from jaxdl.graph import trace
    >>> graph = trace(lambda w, x: (x + w) * (w + 1), 1.0, 2.0, expand=False)
    >>> for path in gradient_paths(graph, "w", 1.0, 2.0):
    ...     print(path)
    w -> add -> mul -> output: 1 * 2 * 1 = 2
    w -> add_b -> mul -> output: 1 * 3 * 1 = 3

    Raises:
      ValueError: as `node_gradients`, no node `start` gives real numbers, a node on a
        path is no scalar, or there are more than 10,000 paths.
    """
    values, output, kinds = (
        node_values(graph, *args),
        _only_output(graph),
        _kinds(graph),
    )
    real = [name for name, kind in kinds.items() if _is_real(kind)]
    if start not in real:
        raise ValueError(f"{start!r} is no node of real numbers; those are {real}")
    behind = _reached_from(graph, start)
    paths = {output: [Path((output,), ())]}  # from each value to the output
    for node in reversed(graph.nodes):
        # Backwards here too, so that the paths come in the order of the graph.
        for operand in reversed(range(len(node.inputs))):
            read = node.inputs[operand]
            if read not in behind or read not in real:
                continue
            for index, port in reversed(list(enumerate(node.ports))):
                if port not in paths or port not in real:
                    continue
                _check_scalars(kinds, read, port)
                inputs = [values[name] for name in node.inputs]
                factor = _derivative(node, inputs, operand, index)
                paths[read] = [
                    Path((read, *rest.nodes), (factor, *rest.derivatives))
                    for rest in paths[port]
                ] + paths.get(read, [])
                _check_count(start, paths[read])
    return paths.get(start, [])


def _run(graph: Graph, arguments: Sequence[Array], zeros: Mapping[str, Array]) -> dict:
    """Computes node by node, adding `zeros` to the values of that name."""
    values: dict[str, Array] = {}
    given = iter(arguments)
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        results = [next(given)] if node.op == "input" else _compute(node, inputs)
        for port, result in zip(node.ports, results, strict=True):
            values[port] = result + zeros[port] if port in zeros else result
    return values


def _compute(node: Node, inputs: Sequence[Array]) -> Sequence[Array]:
    """Returns the outputs of one node."""
    if node.op == "constant":
        is_array = isinstance(node.value, jax.Array)
        return [node.value if is_array else jnp.asarray(node.value, node.dtype)]
    if node.op == "output":
        return inputs
    primitive = node.equation.primitive
    params = primitive.get_bind_params(node.equation.params)  # custom derivatives too
    results = primitive.bind(*inputs, **params)
    return results if primitive.multiple_results else [results]


def _derivative(
    node: Node, inputs: Sequence[Array], operand: int, output: int
) -> Float[Array, ""]:
    """Returns the derivative of one of a node's outputs by one of its inputs."""

    def function(value):
        given = [*inputs[:operand], value, *inputs[operand + 1 :]]
        return _compute(node, given)[output]

    return jax.grad(function)(inputs[operand])


def _reached_from(graph: Graph, start: str) -> set[str]:
    """Returns the values that are computed from that of `start`, and `start`."""
    reached = {start}
    for node in graph.nodes:
        if reached.intersection(node.inputs):
            reached.update(node.ports)
    return reached


def _arguments(graph: Graph, args: tuple) -> list[Array]:
    """Returns the arrays in `args`, which have to be those that were traced."""
    if graph.expanded:
        raise ValueError(
            "a graph has to be traced with expand=False to be computed: taken apart,"
            " functions lose derivatives of their own, and loops run once"
        )
    arrays = [jnp.asarray(leaf) for leaf in jax.tree.leaves(args)]
    if len(arrays) != len(graph.inputs):
        raise ValueError(
            f"{len(arrays)} arrays are given to a graph of {len(graph.inputs)} inputs"
        )
    for array, node in zip(arrays, graph.inputs, strict=True):
        if (array.shape, array.dtype) != (node.shape, node.dtype):
            raise ValueError(
                f"{node.name} is {array.dtype}{list(array.shape)}, but was traced as"
                f" {node.dtype}{list(node.shape)}"
            )
    return arrays


def _only_output(graph: Graph) -> str:
    kinds = [f"{node.dtype}{list(node.shape)}" for node in graph.outputs]
    if len(kinds) != 1 or graph.outputs[0].shape or not _is_real(graph.outputs[0]):
        raise ValueError(
            f"a gradient needs one output, a real number; there are {', '.join(kinds)}"
        )
    return graph.outputs[0].name


def _kinds(graph: Graph) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shape and dtype of every value."""
    return {
        port: kind
        for node in graph.nodes
        for port, kind in zip(node.ports, node.outputs, strict=True)
    }


def _is_real(kind: Any) -> bool:
    return jnp.issubdtype(kind.dtype, jnp.floating)


def _check_scalars(kinds: Mapping[str, jax.ShapeDtypeStruct], *names: str) -> None:
    for name in names:
        if kinds[name].shape:
            raise ValueError(
                f"{name} has the shape {kinds[name].shape}: paths multiply numbers, so"
                " all their nodes have to be scalars"
            )


def _check_count(start: str, paths: Sequence[Path]) -> None:
    if len(paths) > MOST_PATHS:
        raise ValueError(
            f"more than {MOST_PATHS} paths lead from {start} to the output:"
            " node_gradients gives their sum"
        )
