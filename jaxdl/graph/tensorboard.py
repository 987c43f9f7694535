"""Graphs for TensorBoard, which draws what TensorFlow calls a GraphDef."""

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxdl.graph.nodes import Graph, Node
from jaxdl.tensorboard import EventLog

if TYPE_CHECKING:
    from tensorboard.compat.proto.graph_pb2 import GraphDef

LONGEST_ATTRIBUTE = 200


def to_graph_def(graph: Graph) -> "GraphDef":
    """Returns the graph as TensorFlow's GraphDef, a protocol buffer.

    TensorBoard writes the shapes beside the edges, and shows an operation's settings
    when it is clicked.
    """
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.versions_pb2 import VersionDef

    nodes = [_to_node_def(node) for node in graph.nodes]
    return GraphDef(node=nodes, versions=VersionDef(producer=22))


def write_graph(log: str | os.PathLike[str] | EventLog, graph: Graph) -> None:
    """Writes a graph for TensorBoard's Graphs tab.

    `log` is the directory of a run that no one else writes to, or the open log of one
    that has scalars too: TensorBoard reads one file of a directory at a time. A run
    shows the graph that was written last.
    """
    if isinstance(log, EventLog):
        log.graph(to_graph_def(graph))
        return
    with EventLog(Path(log)) as opened:
        opened.graph(to_graph_def(graph))


def _to_node_def(node: Node) -> Any:
    from tensorboard.compat.proto.attr_value_pb2 import AttrValue
    from tensorboard.compat.proto.node_def_pb2 import NodeDef
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

    shapes = [
        TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in kind.shape])
        for kind in node.outputs
    ]
    attributes = {
        "_output_shapes": AttrValue(list=AttrValue.ListValue(shape=shapes)),
        **{name: AttrValue(s=text.encode()) for name, text in _settings(node).items()},
    }
    # "Const" is the one kind that TensorBoard draws as a dot beside its reader.
    op = "Const" if node.op == "constant" else node.op
    return NodeDef(name=node.name, op=op, input=node.inputs, attr=attributes)


def _settings(node: Node) -> dict[str, str]:
    """Returns what a click shows: dtypes, a constant's value, its settings."""
    settings = {"dtype": ", ".join(str(kind.dtype) for kind in node.outputs)}
    if node.op == "constant":
        settings["value"] = str(node.value)
    elif node.equation is not None:
        for name, value in node.equation.params.items():
            if isinstance(value, str | int | float | tuple | Enum):  # no functions
                settings[name] = str(jax.tree.map(_plain, value))
    return {name: text[:LONGEST_ATTRIBUTE] for name, text in settings.items()}


def _plain(value: Any) -> Any:
    """Returns a number of NumPy's as Python's, which is written without its type."""
    return value.item() if isinstance(value, np.generic) else value
