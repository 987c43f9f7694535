"""What a graph is: named operations, each after those it reads."""

from typing import Any, NamedTuple

import jax


class Node(NamedTuple):
    """One operation: what it is called, what it reads and what it gives.

    `inputs` names other nodes, "split:1" being the second output of "split". `op` is
    JAX's name for the operation, or "input", "constant" or "output".
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[jax.ShapeDtypeStruct, ...]
    equation: Any = None  # JAX's own, where there is one
    value: Any = None  # a constant's

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first output."""
        return self.outputs[0].shape

    @property
    def dtype(self) -> Any:
        """The dtype of the first output."""
        return self.outputs[0].dtype

    @property
    def ports(self) -> tuple[str, ...]:
        """What others call the outputs: "split", "split:1", "split:2", ..."""
        return tuple(port(self.name, k) for k in range(len(self.outputs)))


class Graph(NamedTuple):
    """Nodes in an order in which they can be computed.

    `expanded` tells that functions with a derivative of their own are taken apart.
    """

    nodes: tuple[Node, ...]
    expanded: bool

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The arguments' arrays, in the order of their pytrees' leaves."""
        return tuple(node for node in self.nodes if node.op == "input")

    @property
    def outputs(self) -> tuple[Node, ...]:
        """The results' arrays, in the order of their pytree's leaves."""
        return tuple(node for node in self.nodes if node.op == "output")


def port(name: str, output: int) -> str:
    """Returns what other nodes call this output of the node called `name`."""
    return f"{name}:{output}" if output else name


def owner(port: str) -> str:
    """Returns the name of the node that has this output."""
    return port.partition(":")[0]
