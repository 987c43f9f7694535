"""Floating-point operations of a traced function, counted from its jaxpr."""

import math
from collections import Counter
from typing import Any

import jax.numpy as jnp

from jaxdl.graph.drafts import CALLS, WHOLE_CALLS, called
from jaxdl.graph.scopes import Scope, join_scopes, scope_of

Equation = Any  # a JaxprEqn: mypy knows no shapes of its variables

# One operation for each number that comes out.
PER_OUTPUT = {
    "abs", "acos", "acosh", "add", "add_any", "asin", "asinh", "atan", "atan2",
    "atanh", "cbrt", "ceil", "clamp", "cos", "cosh", "cumlogsumexp", "cummax",
    "cummin", "cumprod", "cumsum", "digamma", "div", "erf", "erf_inv", "erfc", "exp",
    "exp2", "expm1", "floor", "integer_pow", "lgamma", "log", "log1p", "logistic",
    "max", "min", "mul", "neg", "pow", "rem", "round", "rsqrt", "sign", "sin", "sinh",
    "sqrt", "square", "sub", "tan", "tanh",
}  # fmt: skip
REDUCTIONS = {"reduce_max", "reduce_min", "reduce_prod", "reduce_sum"}
PER_UPDATE = {
    "scatter-add", "scatter-sub", "scatter_max", "scatter_min", "scatter_mul",
}  # fmt: skip
PER_WINDOW = {
    "reduce_window_max", "reduce_window_min", "reduce_window_sum",
}  # fmt: skip
# What moves, chooses or renames numbers.
FREE = {
    "all_gather", "all_to_all", "bitcast_convert_type", "broadcast_in_dim",
    "complex", "concatenate", "conj", "convert_element_type", "copy",
    "device_put", "dynamic_slice", "dynamic_update_slice", "empty", "empty2",
    "gather", "get", "imag", "iota", "name", "optimization_barrier", "pad",
    "pbroadcast", "ppermute", "pvary", "real", "reduce_precision", "reshape", "rev",
    "scatter", "select_n", "sharding_constraint", "slice", "sort", "split",
    "squeeze", "stack", "stop_gradient", "swap", "tile", "top_k", "transpose",
    "unstack",
}  # fmt: skip


def flops_by_scope(jaxpr: Any) -> Counter[Scope]:
    """Returns how many operations a jaxpr does in each scope, without scopes within it.

    A product of matrices and a convolution are two for each multiplication and
    addition; other arithmetic is one for each number, exp as + is. Comparisons,
    integers and what moves numbers are free. A scan counts as often as it runs, the
    body of a while loop once, and of branches the dearest.
    """
    total: Counter[Scope] = Counter()
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        scope = scope_of(equation)
        for inner, flops in _flops_of(equation).items():
            total[join_scopes(scope, inner)] += flops
    return total


def uncounted(jaxpr: Any) -> set[str]:
    """Returns the names of operations whose number is not known."""
    names = set()
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, bodies = equation.primitive.name, _bodies(equation)
        if name == "while":
            names.add("while (its body counts once)")
        elif not bodies and _is_floating(equation) and _own_flops(equation) is None:
            names.add(name)
        for body, _ in bodies:
            names |= uncounted(body)
    return names


def _flops_of(equation: Equation) -> Counter[Scope]:
    bodies = _bodies(equation)
    if equation.primitive.name == "cond":
        return max((flops_by_scope(body) for body, _ in bodies), key=Counter.total)
    total: Counter[Scope] = Counter()
    for body, times in bodies:
        for scope, flops in flops_by_scope(body).items():
            total[scope] += times * flops
    if not bodies and _is_floating(equation):
        total[()] += _own_flops(equation) or 0
    return total


def _bodies(equation: Equation) -> list[tuple[Any, int]]:
    """Returns the jaxprs that an equation runs, and how often each."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return [(params["jaxpr"], params["length"])]
    if name == "while":
        return [(params["cond_jaxpr"], 1), (params["body_jaxpr"], 1)]
    if name == "cond":
        return [(branch, 1) for branch in params["branches"]]
    if name in CALLS | WHOLE_CALLS:
        # Inside of shard_map are the shapes of one device.
        times = params["mesh"].size if name == "shard_map" else 1
        return [(called(equation), times)]
    return []


def _own_flops(equation: Equation) -> int | None:
    """Returns the operations of one primitive, or None if there is no rule for it."""
    name, params = equation.primitive.name, equation.params
    sizes = [math.prod(atom.aval.shape) for atom in equation.invars]
    out_size = sum(math.prod(out.aval.shape) for out in equation.outvars)
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2 * out_size * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return 2 * _multiplications(equation)
    if name in PER_OUTPUT:
        return out_size
    if name in REDUCTIONS:
        return sizes[0] - out_size
    if name in PER_UPDATE:
        return sizes[2]
    if name in PER_WINDOW:
        return out_size * (math.prod(params["window_dimensions"]) - 1)
    if name == "select_and_scatter_add":
        return sizes[0]
    return 0 if name in FREE else None


def _multiplications(equation: Equation) -> int:
    """Returns the multiplications of a convolution, as its forward pass has them.

    On each axis one pairs a place of the input, of the kernel and of the output, two of
    which fix the third. So there are no more than the smallest product of two lengths:
    of output and kernel, padding counted, as is usual. In the gradients it is the same
    two lengths under other names, and zeros put between rows are not counted.

    Of input and output it is where the kernel is larger than the input. PyTorch's
    counter takes output and kernel there too; but in a gradient nothing tells which of
    the three lengths was the kernel's.
    """
    lhs_spec, rhs_spec, out_spec = equation.params["dimension_numbers"]
    lhs, rhs = (atom.aval.shape for atom in equation.invars)
    out = equation.outvars[0].aval.shape
    batch, features, *_ = (out[axis] for axis in out_spec)
    total = batch * features * rhs[rhs_spec[1]]
    for i, k, o in zip(lhs_spec[2:], rhs_spec[2:], out_spec[2:], strict=True):
        total *= min(out[o] * rhs[k], lhs[i] * rhs[k], lhs[i] * out[o])
    return total


def _is_floating(equation: Equation) -> bool:
    """Tells arithmetic of real or complex numbers from that of integers and keys."""
    return any(jnp.issubdtype(out.aval.dtype, jnp.inexact) for out in equation.outvars)
