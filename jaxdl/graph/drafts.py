"""Jaxprs inside of jaxprs as one list of operations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from jaxdl.graph.control_flow import CONTROL_FLOW
from jaxdl.graph.nodes import Node, port
from jaxdl.graph.scopes import Scope, ScopeNames, join_scopes, scope_of, unique_names

if TYPE_CHECKING:
    from jax.extend.core import JaxprEqn

# Calls that say nothing but where operations are written down.
CALLS = {"jit", "pjit", "closed_call", "call", "checkpoint", "remat2"}
# Calls that mean more than what they run: a derivative of their own, or devices.
WHOLE_CALLS = {"custom_jvp_call", "custom_vjp_call", "shard_map"}

Source = tuple[int, int]  # which draft, and which of its outputs


class _Draft(NamedTuple):
    """A node whose name is not yet unique."""

    path: Scope
    op: str
    inputs: tuple[Source, ...]
    outputs: tuple[jax.ShapeDtypeStruct, ...]
    equation: Any
    value: Any


class Drafts:
    """Collects the operations of jaxprs inside of jaxprs, in one list."""

    def __init__(self, expand: bool):
        self._expand = expand
        self._drafts: list[_Draft] = []
        self._scopes = ScopeNames()

    def add(
        self,
        path: Scope,
        op: str,
        inputs: Sequence[Source],
        outputs: Sequence[Any],
        equation: Any = None,
        value: Any = None,
    ) -> list[Source]:
        """Adds one operation and returns its outputs."""
        types = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in outputs)
        self._drafts.append(_Draft(path, op, tuple(inputs), types, equation, value))
        return [(len(self._drafts) - 1, k) for k in range(len(types))]

    def add_all(
        self, closed: Any, arguments: Sequence[Source], scope: Scope
    ) -> list[Source]:
        """Adds the operations of a jaxpr called in `scope`, returns its results."""
        jaxpr = getattr(closed, "jaxpr", closed)
        constants = getattr(closed, "consts", ())
        known = dict(zip(jaxpr.invars, arguments, strict=True))

        def constant(value, aval, scope):
            path = (*scope, "constant")
            return self.add(path, "constant", (), [aval], value=value)[0]

        def source(atom, scope):
            if hasattr(atom, "val"):  # a literal
                return constant(atom.val, atom.aval, scope)
            return known[atom]

        for variable, value in zip(jaxpr.constvars, constants, strict=True):
            known[variable] = constant(value, variable.aval, scope)
        for equation in jaxpr.eqns:
            inside = join_scopes(scope, scope_of(equation))
            inputs = [source(atom, inside) for atom in equation.invars]
            outputs = self._add_equation(equation, inputs, inside)
            known.update(zip(equation.outvars, outputs, strict=True))
        return [source(atom, scope) for atom in jaxpr.outvars]

    def _add_equation(
        self, equation: "JaxprEqn", inputs: list[Source], scope: Scope
    ) -> list[Source]:
        primitive = equation.primitive.name
        if primitive in CALLS or (self._expand and primitive in WHOLE_CALLS):
            inner = called(equation)
            if len(inner.eqns) > 1:
                scope = self._scopes.inner(scope, _function_name(equation))
            return self.add_all(inner, inputs, scope)
        if self._expand and primitive in CONTROL_FLOW:
            scope = self._scopes.inner(scope, primitive)
            return CONTROL_FLOW[primitive](self, equation, inputs, scope)
        name = _function_name(equation) if primitive in WHOLE_CALLS else primitive
        types = [variable.aval for variable in equation.outvars]
        return self.add((*scope, name), primitive, inputs, types, equation)

    def add_each(
        self, op: str, inputs: Sequence[Source], outputs: Sequence[Any], scope: Scope
    ) -> list[Source]:
        """Adds an operation of one input and one output for each of several."""
        return [
            self.add((*scope, op), op, [source], [variable.aval])[0]
            for source, variable in zip(inputs, outputs, strict=True)
        ]

    def nodes(self) -> tuple[Node, ...]:
        """Returns the nodes, each with a name of its own."""
        drafts = self._drafts
        paths = [draft.path for draft in drafts]
        is_placed = [draft.op != "input" for draft in drafts]
        for draft in drafts:
            for i, _ in draft.inputs:
                if not is_placed[i]:
                    paths[i] = _beside(paths[i], draft.path[:-1])
                    is_placed[i] = True
        names = unique_names(paths)
        return tuple(
            Node(
                name,
                draft.op,
                tuple(port(names[i], k) for i, k in draft.inputs),
                draft.outputs,
                draft.equation,
                draft.value,
            )
            for name, draft in zip(names, drafts, strict=True)
        )


def called(equation: "JaxprEqn") -> Any:
    """Returns the jaxpr that an equation of `CALLS` or `WHOLE_CALLS` calls."""
    params = equation.params
    return params["call_jaxpr" if "call_jaxpr" in params else "jaxpr"]


def _function_name(equation: "JaxprEqn") -> str:
    inner = called(equation)
    traced_from = getattr(inner, "jaxpr", inner).debug_info.func_name
    return equation.params.get("name", traced_from).strip("<>")


def _beside(path: Scope, reader: Scope) -> Scope:
    """Returns where to draw an argument that is read first in the scope `reader`.

    The parameter params/conv1/kernel goes with what reads it to LeNet/conv1/kernel.
    """
    for length in range(len(reader), 0, -1):
        if reader[length - 1] in path[-2:-1]:
            return (*reader[:length], path[-1])
    return path
