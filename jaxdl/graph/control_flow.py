"""Loops and branches in a graph: each body once, in a scope of its own."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax.extend.core import JaxprEqn

    from jaxdl.graph.drafts import Drafts, Source
    from jaxdl.graph.scopes import Scope


def _scan(
    drafts: "Drafts", equation: "JaxprEqn", inputs: "list[Source]", scope: "Scope"
) -> "list[Source]":
    body = equation.params["jaxpr"]
    num_consts, num_carry = _scan_sizes(equation.params)
    num_fixed = num_consts + num_carry
    variables = body.jaxpr.invars
    carry = drafts.add_each(
        "carry", inputs[num_consts:num_fixed], variables[num_consts:num_fixed], scope
    )
    element = drafts.add_each(
        "element", inputs[num_fixed:], variables[num_fixed:], scope
    )
    after = drafts.add_all(body, [*inputs[:num_consts], *carry, *element], scope)
    last, stacks = equation.outvars[:num_carry], equation.outvars[num_carry:]
    return [
        *drafts.add_each("next_carry", after[:num_carry], last, scope),
        *drafts.add_each("stacked", after[num_carry:], stacks, scope),
    ]


def _scan_sizes(params: dict[str, Any]) -> tuple[int, int]:
    """Returns how many constants and how many parts of the carry a scan is given."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()  # from JAX 0.11 on
    return len(consts), len(carry)


def _while(
    drafts: "Drafts", equation: "JaxprEqn", inputs: "list[Source]", scope: "Scope"
) -> "list[Source]":
    params = equation.params
    first, num_consts = params["cond_nconsts"], params["body_nconsts"]
    state = first + num_consts
    carry = drafts.add_each("carry", inputs[state:], equation.outvars, scope)
    goes_on = drafts.add_all(
        params["cond_jaxpr"], [*inputs[:first], *carry], (*scope, "condition")
    )
    after = drafts.add_all(
        params["body_jaxpr"], [*inputs[first:state], *carry], (*scope, "body")
    )
    return [
        drafts.add((*scope, "next_carry"), "next_carry", [*goes_on, x], [out.aval])[0]
        for x, out in zip(after, equation.outvars, strict=True)
    ]


def _cond(
    drafts: "Drafts", equation: "JaxprEqn", inputs: "list[Source]", scope: "Scope"
) -> "list[Source]":
    chosen, *operands = inputs
    branches = [
        drafts.add_all(branch, operands, (*scope, f"branch_{index}"))
        for index, branch in enumerate(equation.params["branches"])
    ]
    return [
        drafts.add((*scope, "result"), "result", [chosen, *results], [out.aval])[0]
        for results, out in zip(
            zip(*branches, strict=True), equation.outvars, strict=True
        )
    ]


CONTROL_FLOW = {"scan": _scan, "while": _while, "cond": _cond}
