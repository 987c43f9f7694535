"""Recurrent layers over sequences of unequal lengths, as a CPU computes them fast.

XLA's shapes are those of the longest sequence there could be: a loop over its steps
spends most of its time on padding. Here, as in PyTorch's packed sequences, each
sequence has a lane, the longest the first, so that at every step the first lanes run
and the others have ended. A loop computes all lanes, as long as more than half of them
run; the next the first half, as long as more than an eighth run; and so on.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.backend import on_cpu
from jaxdl.functional.checks import at_least_float32
from jaxdl.functional.products import affine
from jaxdl.functional.recurrent_cells import (
    GATES,
    SUMS,
    RecurrentWeights,
    Update,
)
from jaxdl.functional.transposes import with_transpose

LANES = 16
"""the least lanes that a loop computes: fewer make products slow"""
SHARES = (1, 2, 8)
"""by what the lanes of each loop are divided; each loop is compiled on its own"""

Layer = Callable[[Update, Any, Any], Any]


class _Plan(NamedTuple):
    """Which sequence is in which lane, and when; rows are those of (time · batch)."""

    order: jax.Array  # (batch,) the sequence in a lane
    lane: jax.Array  # (batch,) the lane of a sequence
    lengths: jax.Array  # (batch,) by lane
    rows: list[jax.Array]  # (steps, batch) by direction: what a lane reads at a step
    places: list[jax.Array]  # (time, batch) by direction: the inverse, in (step · lane)
    loops: list[tuple[int, jax.Array, jax.Array]]  # lanes, first step, end


def in_lanes(lengths) -> bool:
    """Whether a layer should compute only what runs: many sequences, on a CPU."""
    return lengths is not None and len(lengths) > 2 * LANES and on_cpu()


def loop_lanes(batch: int) -> list[int]:
    """How many lanes each loop computes: all, and then fewer."""
    lanes = [-(-batch // share) for share in SHARES]
    return lanes[:1] + [some for some in lanes[1:] if some >= LANES]


# Compiled, for those who call it outside of jit: many small operations otherwise.
@partial(jax.jit, static_argnums=(0, 1), inline=True)
def run_packed(plain: Layer, update: Update, operands, lengths):
    """Computes `plain(update, operands, lengths)`, one layer in all its directions.

    `operands` are x (time, batch, features), a list of weights and one of states, one
    for each direction, of which the second runs backward; the result is the output and
    the last states. `plain` is what forward mode and higher derivatives go through.
    """
    return _run(plain, update, operands, lengths)[0]


# A custom JVP of which only the transpose is fast: forward mode and more remain.
@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _run(plain: Layer, update: Update, operands, lengths):
    plan = _plan(lengths, len(operands[0]), len(operands[1]))
    saved, last = _forward(update, operands, plan)
    return _results(saved, last, plan, lengths), saved


@_run.defjvp
def _run_jvp(plain, update, primals, tangents):
    operands, lengths = primals
    result, saved = _run(plain, update, operands, lengths)

    def tangent(d_operands):
        function = lambda operands: plain(update, operands, lengths)
        return jax.jvp(function, (operands,), (d_operands,))[1]

    def gradient(d_result):
        return _reverse(update, operands, lengths, saved, d_result)

    d_result = with_transpose(tangent, gradient, tangents[0])
    return (result, saved), (d_result, jax.tree.map(jnp.zeros_like, saved))


def _plan(lengths, steps: int, directions: int) -> _Plan:
    batch = len(lengths)
    order = jnp.argsort(lengths, descending=True)
    lane = jnp.argsort(order)
    sorted_lengths = lengths[order]
    step = jnp.arange(steps)[:, None]

    def places(lengths, other):
        # A backward direction begins at a sequence's own end.
        times = [step, jnp.maximum(lengths - 1 - step, 0)]
        return [time * batch + other for time in times[:directions]]

    reads, writes = places(sorted_lengths, order), places(lengths, lane)
    sizes = loop_lanes(batch)
    ends = [_shared(sorted_lengths[size]) for size in sizes[1:]]
    ends.append(_shared(sorted_lengths[0]))
    loops = list(zip(sizes, [jnp.zeros_like(ends[0]), *ends], ends, strict=False))
    return _Plan(order, lane, sorted_lengths, reads, writes, loops)


def _forward(update: Update, operands, plan: _Plan):
    """Returns, by direction, what the gradient needs of each step, and the last states.

    That is by step and lane what `_merged` makes of x W + b and h W + b, and the states
    before the step; one more are the last.
    """
    x, weights, initial = operands
    x, steps = _flat(x), len(x)
    initial = _take(initial, plan.order)

    def gates(direction, rows, h):
        w = weights[direction]
        inputs = affine(rows, w.weight_ih, w.bias_ih)
        products = affine(h, w.weight_hh, w.bias_hh)
        return _merged(update, *lax.optimization_barrier((inputs, products)))

    def step(t, lanes, direction, state, kept):
        rows = _take(x, plan.rows[direction][t, :lanes])
        merged = gates(direction, rows, state[0])
        later = _update(update, merged, state)
        later = _where(_running(plan, t, lanes), later, state)
        kept_gates, kept_states = kept
        kept_gates = _put(kept_gates, t, merged)
        return later, (kept_gates, _put(kept_states, t + 1, later))

    kept = []
    for direction, state in enumerate(initial):
        shapes = jax.eval_shape(
            partial(gates, direction), x[: len(plan.order)], state[0]
        )
        buffers = tuple(jnp.zeros((steps, *a.shape), a.dtype) for a in shapes)
        states = (jnp.zeros((steps + 1, *a.shape), a.dtype).at[0].set(a) for a in state)
        kept.append((buffers, tuple(states)))
    last, kept = _loop(step, plan, initial, kept)
    return kept, last


def _results(saved, last, plan: _Plan, lengths):
    """Returns the output (time, batch, directions · hidden) and the last states."""
    outputs = [
        _without_padding(states[0][1:], plan, direction, lengths)
        for direction, (_, states) in enumerate(saved)
    ]
    return jnp.concatenate(outputs, axis=-1), _take(last, plan.lane)


def _reverse(update: Update, operands, lengths, saved, d_result):
    """Returns the gradient for the operands: the transpose of the JVP."""
    x, weights, _ = operands
    plan = _plan(lengths, len(x), len(weights))
    d_output, d_last = d_result
    d_outputs = jnp.split(_flat(d_output), len(weights), axis=-1)
    rows_of_x = _flat(x)

    def step(t, lanes, direction, d_state, kept):
        w, (gates, states) = weights[direction], saved[direction]
        d_weights, d_x = kept
        rows = plan.rows[direction][t, :lanes]
        running = _running(plan, t, lanes)
        h, *rest = d_state
        d_later = (h + _take(d_outputs[direction], rows), *rest)
        d_later = _where(running, d_later, jax.tree.map(jnp.zeros_like, d_state))
        state = tuple(a[t, :lanes] for a in states)
        merged = tuple(a[t, :lanes] for a in gates)
        _, of_update = jax.vjp(partial(_update, update), merged, state)
        d_merged, d_before = of_update(d_later)
        d_inputs, d_products = lax.optimization_barrier(_parted(update, *d_merged))
        h, *rest = _where(running, d_before, d_state)
        d_before = (h + _times_transpose(d_products, w.weight_hh), *rest)
        added = _of_weights(w, _take(rows_of_x, rows), state[0], d_inputs, d_products)
        d_weights = jax.tree.map(jnp.add, d_weights, added)
        d_x = _put(d_x, t, _times_transpose(d_inputs, w.weight_ih))
        return d_before, (d_weights, d_x)

    # In float32: in bfloat16 a sum of ones ends at 256.
    zeros = lambda a: jnp.zeros_like(at_least_float32(a))
    kept = [(jax.tree.map(zeros, w), jnp.zeros_like(x)) for w in weights]
    d_last = _take(d_last, plan.order)
    d_initial, kept = _loop(step, plan, d_last, kept, reverse=True)
    d_x = sum(
        _without_padding(d_x, plan, direction, lengths)
        for direction, (_, d_x) in enumerate(kept)
    )
    as_given = lambda total, a: total.astype(a.dtype)
    d_weights = [
        jax.tree.map(as_given, total, w)
        for (total, _), w in zip(kept, weights, strict=True)
    ]
    return d_x, d_weights, _take(d_initial, plan.lane)


def _loop(step: Callable[..., Any], plan: _Plan, states, kept, reverse: bool = False):
    """Calls `step(t, lanes, direction, state, kept)` for all steps, or from the last.

    It returns the next state of the first lanes, and what is kept. Both directions take
    turns, so that they may run at once.
    """
    for lanes, start, end in reversed(plan.loops) if reverse else plan.loops:

        def body(k, carry, lanes=lanes, start=start, end=end):
            t = start + end - 1 - k if reverse else k
            both = [
                step(t, lanes, direction, *each)
                for direction, each in enumerate(zip(*carry, strict=True))
            ]
            return [state for state, _ in both], [kept for _, kept in both]

        first = jax.tree.map(lambda a, lanes=lanes: a[:lanes], states)
        first, kept = lax.fori_loop(start, end, body, (first, kept))
        states = jax.tree.map(
            lambda a, b: jnp.concatenate([b, a[len(b) :]]), states, first
        )
    return states, kept


def _merged(update: Update, inputs, products):
    """Joins x W + b and h W + b of the gates that need no more than their sum."""
    summed = SUMS[update] * products.shape[-1] // GATES[update]
    sums = inputs[:, :summed] + products[:, :summed]
    return jnp.concatenate([sums, inputs[:, summed:]], axis=-1), products[:, summed:]


def _parted(update: Update, d_inputs, d_rest):
    """Returns the gradients for x W + b and h W + b: the transpose of `_merged`."""
    summed = SUMS[update] * d_inputs.shape[-1] // GATES[update]
    return d_inputs, jnp.concatenate([d_inputs[:, :summed], d_rest], axis=-1)


def _update(update: Update, merged, state):
    """Computes the next state of what `_merged` returns."""
    inputs, rest = merged
    inputs = jnp.split(inputs, GATES[update], axis=-1)
    alone = GATES[update] - SUMS[update]
    products = [jnp.zeros_like(inputs[0])] * SUMS[update]
    products += jnp.split(rest, alone, axis=-1) if alone else []
    return update(tuple(inputs), tuple(products), state)


def _of_weights(weights: RecurrentWeights, x, h, d_inputs, d_products):
    """Returns the gradient for the weights of a step."""
    return RecurrentWeights(
        x.T @ d_inputs,
        h.T @ d_products,
        None if weights.bias_ih is None else d_inputs.sum(axis=0),
        None if weights.bias_hh is None else d_products.sum(axis=0),
    )


def _running(plan: _Plan, t, lanes: int):
    return (t < plan.lengths[:lanes])[:, None]


def _without_padding(by_lane, plan: _Plan, direction: int, lengths):
    """Returns what (steps, lanes, ...) holds by time and batch, with 0 for padding."""
    rows = _take(_flat(by_lane), plan.places[direction])
    running = jnp.arange(len(by_lane))[:, None] < lengths
    return jnp.where(running[..., None], rows, 0)


def _times_transpose(rows, weight):
    return lax.dot_general(rows, weight, (((1,), (1,)), ((), ())))


def _flat(array):
    """Joins the first two axes."""
    return array.reshape(-1, *array.shape[2:])


def _take(arrays, rows):
    """Returns the given rows of each array."""
    # Held by a barrier: XLA would find out each row anew for each of its numbers.
    rows = lax.optimization_barrier(rows)
    return jax.tree.map(
        lambda a: a.at[rows].get(mode="clip", wrap_negative_indices=False), arrays
    )


def _put(buffers, t, arrays):
    """Puts arrays into the first lanes of a step of buffers."""
    start = (t, *[jnp.zeros_like(t)] * 2)
    return jax.tree.map(
        lambda buffer, array: lax.dynamic_update_slice(buffer, array[None], start),
        buffers,
        arrays,
    )


def _where(condition, new, old):
    return jax.tree.map(partial(jnp.where, condition), new, old)


@jax.custom_batching.custom_vmap
def _shared(step):
    """Returns a step; under vmap the last of all members, the same for them.

    A loop whose length differs among members copies its buffers at each step.
    """
    return step


@_shared.def_vmap
def _(axis_size, in_batched, step):
    return _shared(step.max()), False
