"""Computation graphs of functions: in TensorBoard, drawn, and differentiated by hand.

`trace` gives a function's operations as a `Graph`. `write_graph` puts it into
TensorBoard's Graphs tab. `to_svg` and `to_dot` draw it, with the values that
`node_values` computes and the gradients that `node_gradients` does. `gradient_paths`
lists the paths that a gradient is a sum over.
"""

from jaxdl.graph.derivatives import (
    Path as Path,
    gradient_paths as gradient_paths,
    node_gradients as node_gradients,
    node_values as node_values,
)
from jaxdl.graph.drawing import to_dot as to_dot, to_svg as to_svg
from jaxdl.graph.nodes import Graph as Graph, Node as Node
from jaxdl.graph.tensorboard import (
    to_graph_def as to_graph_def,
    write_graph as write_graph,
)
from jaxdl.graph.tracing import trace as trace
