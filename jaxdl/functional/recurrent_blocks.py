"""Recurrent layers over sequences of unequal lengths, as a CPU computes them fast.

XLA's shapes are those of the longest sequence there could be: a loop over its steps
spends most of its time on padding. Here sequences are sorted by length and cut into
blocks of a few. One loop runs over all steps of the first block, then of the second,
and so on, each as long as its own longest sequence, and ends after the last.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.backend import on_cpu
from jaxdl.functional.products import affine
from jaxdl.functional.recurrent_cells import (
    GATES,
    Arrays,
    RecurrentWeights,
    Update,
)
from jaxdl.functional.transposes import with_transpose

ROWS = 32
"""the least sequences of a block: fewer make products slow, more have more padding"""
BLOCKS = 8
"""the most blocks: where all sequences are as long as the longest, more take longer"""
CHUNK_ROWS = 512
"""rows multiplied at once for the weights' gradients"""

Layer = Callable[[Update, Any, Any], Any]


class _Plan(NamedTuple):
    """The order of steps; a position stands for one step of one block."""

    total: jax.Array  # () positions that hold a step
    sequence: jax.Array  # (blocks, rows) which sequence this is
    block: jax.Array  # (positions,)
    rows: jax.Array  # (positions, rows) where in (time · batch) its numbers are
    running: jax.Array  # (positions, rows, 1) whether the sequence has not ended
    ends: tuple[jax.Array, jax.Array]  # (positions,) whether a block's first, last step
    places: jax.Array  # (time, batch) where in (positions · rows) a step is
    final: jax.Array  # (batch,) the same of the last step of a sequence's block


def in_blocks(lengths) -> bool:
    """Whether sequences should run in blocks: more than one, on a CPU."""
    return lengths is not None and len(lengths) > ROWS and on_cpu()


def block_size(batch: int) -> int:
    """How many sequences a block has."""
    return max(ROWS, -(-batch // BLOCKS))


def positions_at_once(size: int) -> int:
    """How many steps of a block are multiplied at once for the weights' gradients."""
    return max(1, CHUNK_ROWS // size)


# Compiled, for those who call it outside of jit: many small operations otherwise.
@partial(jax.jit, static_argnums=(0, 1), inline=True)
def run_blocks(plain: Layer, update: Update, operands, lengths):
    """Computes `plain(update, operands, lengths)`, one layer in all its directions.

    `operands` are x (time, batch, features), a list of weights and one of states, one
    for each direction, of which the second runs backward; the result is the output and
    the last states. `plain` is what forward mode and higher derivatives go through.
    """
    return _run(plain, update, operands, lengths)[0]


# A custom JVP of which only the transpose is fast: forward mode and more remain.
@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _run(plain: Layer, update: Update, operands, lengths):
    plan = _plan(lengths, len(operands[0]))
    saved = _forward(update, operands, plan)
    return _results(saved, plan, lengths), saved


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


def _plan(lengths, steps: int) -> _Plan:
    batch = len(lengths)
    size = block_size(batch)
    blocks = -(-batch // size)
    order = jnp.argsort(lengths, descending=True)
    rank = jnp.argsort(order)
    # The last block is filled up with sequences of no steps.
    filled = blocks * size
    sequence = jnp.pad(order, (0, filled - batch), mode="edge")
    lengths = jnp.where(jnp.arange(filled) < batch, lengths[sequence], 0)
    sequence, lengths = (a.reshape(blocks, size) for a in (sequence, lengths))

    longest = lengths[:, 0]
    stop = jnp.cumsum(longest)
    start, total = stop - longest, _shared(stop[-1])
    at_once = positions_at_once(size)
    position = jnp.arange(-(-blocks * steps // at_once) * at_once)
    block = jnp.searchsorted(stop, position, side="right")
    inside, block = block < blocks, jnp.minimum(block, blocks - 1)
    time = position - start[block]
    running = inside[:, None] & (time[:, None] < lengths[block])
    ends = inside & (time == 0), inside & (time == longest[block] - 1)
    rows = jnp.minimum(time, steps - 1)[:, None] * batch + sequence[block]

    place = start[rank // size] * size + rank % size
    places = jnp.arange(steps)[:, None] * size + place
    final = (longest[rank // size] - 1) * size + place
    return _Plan(total, sequence, block, rows, running[..., None], ends, places, final)


def _forward(update: Update, operands, plan: _Plan):
    """Returns for each direction x W + b, h W + b and the states after each step."""
    x, weights, initial = _laid_out(operands, plan)

    def step(position, direction, state):
        w = weights[direction]
        begins = plan.ends[direction][position]
        state = _where(begins, _at(initial[direction], plan.block[position]), state)
        inputs = affine(x[position], w.weight_ih, w.bias_ih)
        products = affine(state[0], w.weight_hh, w.bias_hh)
        inputs, products = lax.optimization_barrier((inputs, products))
        later = update(*_gates(update, inputs, products), state)
        later = _where(plan.running[position], later, state)
        return later, (inputs, products, later)

    return _loop(step, plan, initial)


def _results(saved, plan: _Plan, lengths):
    """Returns the output (time, batch, directions · hidden) and the last states."""
    outputs, finals = [], []
    for direction, (*_, states) in enumerate(saved):
        states = tuple(map(_flat, states))
        outputs.append(_without_padding(states[0], plan, lengths))
        finals.append(_take(states, plan.places[0] if direction else plan.final))
    return jnp.concatenate(outputs, axis=-1), finals


def _reverse(update: Update, operands, lengths, saved, d_result):
    """Returns the gradient for the operands: the transpose of the JVP."""
    plan = _plan(lengths, len(operands[0]))
    operands = _laid_out(operands, plan)
    found = _gradients(update, operands, plan, saved, d_result)
    d_weights, d_x = _products(operands, plan, saved, found)
    d_initial = [
        _take(tuple(map(_flat, d_before)), plan.final if direction else plan.places[0])
        for direction, (*_, d_before) in enumerate(found)
    ]
    return _without_padding(_flat(d_x), plan, lengths), d_weights, d_initial


def _gradients(update: Update, operands, plan: _Plan, saved, d_result):
    """Returns those for `saved`'s x W + b and h W + b, and for the states before."""
    _, weights, initial = operands
    d_output, d_final = d_result
    d_output = jnp.where(plan.running, _take(_flat(d_output), plan.rows), 0)
    d_outputs = jnp.split(d_output, len(weights), axis=-1)
    d_outputs = lax.optimization_barrier(d_outputs)
    d_final = _take(d_final, plan.sequence)
    turned = lax.optimization_barrier([w.weight_hh.T for w in weights])

    def step(position, direction, d_state):
        inputs, products, states = saved[direction]
        last = plan.ends[1 - direction][position]
        d_state = _where(last, _at(d_final[direction], plan.block[position]), d_state)
        d_state = (d_state[0] + d_outputs[direction][position], *d_state[1:])
        state = _before(states, initial, plan, position, direction)
        gates = _gates(update, inputs[position], products[position])
        running = plan.running[position]
        d_later = _where(running, d_state, jax.tree.map(jnp.zeros_like, d_state))
        d_inputs, d_products, d_before = jax.vjp(update, *gates, state)[1](d_later)
        d_gates = jnp.concatenate(d_inputs, -1), jnp.concatenate(d_products, -1)
        d_inputs, d_products = lax.optimization_barrier(d_gates)
        h, *rest = _where(running, d_before, d_state)
        d_before = (h + d_products @ turned[direction], *rest)
        return d_before, (d_inputs, d_products, d_before)

    return _loop(step, plan, initial, reverse=True)


def _products(operands, plan: _Plan, saved, found):
    """Returns the gradients for the weights and for x, several steps at a time."""
    x, weights, initial = operands
    each = positions_at_once(x.shape[1])

    def some(i, carry):
        positions = i * each + jnp.arange(each)
        part = lambda a: _flat(lax.dynamic_slice_in_dim(a, i * each, each))
        d_weights, d_x = carry
        xs, d_xs, added = part(x), [], []
        for direction, w in enumerate(weights):
            d_inputs, d_products = map(part, found[direction][:2])
            states = saved[direction][2]
            h = _flat(_before(states, initial, plan, positions, direction)[0])
            added.append(_of_weights(w, xs, h, d_inputs, d_products))
            d_xs.append(_times_transpose(d_inputs, w.weight_ih))
        return jax.tree.map(jnp.add, d_weights, added), _put(i, d_x, sum(d_xs))

    d_weights = jax.tree.map(jnp.zeros_like, weights)
    d_x = jnp.zeros_like(x).reshape(-1, each * x.shape[1], x.shape[2])
    return lax.fori_loop(0, -(-plan.total // each), some, (d_weights, d_x))


def _laid_out(operands, plan: _Plan):
    """Returns x by position, and the initial states by block."""
    x, weights, initial = operands
    x = lax.optimization_barrier(_take(_flat(x), plan.rows))
    return x, weights, _take(initial, plan.sequence)


def _without_padding(rows, plan: _Plan, lengths):
    """Returns (time, batch, ...) of rows by position, with 0 for padding."""
    running = jnp.arange(len(plan.places))[:, None] < lengths
    return jnp.where(running[..., None], _take(rows, plan.places), 0)


def _before(states, initial, plan: _Plan, position, direction: int):
    """Returns the states before a step; `position` may be an array of them."""
    past = jnp.clip(position + (1 if direction else -1), 0, len(plan.block) - 1)
    begins = plan.ends[direction][position][..., None, None]
    first = _at(initial[direction], plan.block[position])
    return _where(begins, first, _at(states, past))


def _loop(step: Callable[..., Any], plan: _Plan, first, reverse: bool = False):
    """Calls `step(position, direction, state)` for all that there is, and in order.

    It returns the next state and arrays that are kept, here by position. `first` has
    one state of a block for each direction and block; a step replaces it where a block
    begins. Both directions take turns, so that they may run at once.
    """

    def both(k, states):
        later = []
        for direction, state in enumerate(states):
            backward = (direction == 1) != reverse
            position = plan.total - 1 - k if backward else k
            later.append((position, *step(position, direction, state)))
        return later

    def body(k, carry):
        states, kept = carry
        later = both(k, states)
        kept = [
            jax.tree.map(partial(_put, position), buffers, arrays)
            for buffers, (position, _, arrays) in zip(kept, later, strict=True)
        ]
        return [state for _, state, _ in later], kept

    states = jax.tree.map(lambda a: jnp.zeros_like(a[0]), first)
    shapes = [arrays for *_, arrays in jax.eval_shape(both, 0, states)]
    kept = jax.tree.map(
        lambda a: jnp.zeros((len(plan.block), *a.shape), a.dtype), shapes
    )
    return lax.fori_loop(0, plan.total, body, (states, kept))[1]


def _of_weights(weights: RecurrentWeights, x, h, d_inputs, d_products):
    """Returns the gradient for the weights of a few steps."""
    return RecurrentWeights(
        x.T @ d_inputs,
        h.T @ d_products,
        None if weights.bias_ih is None else d_inputs.sum(axis=0),
        None if weights.bias_hh is None else d_products.sum(axis=0),
    )


def _gates(update: Update, inputs, products) -> tuple[Arrays, Arrays]:
    split = lambda array: tuple(jnp.split(array, GATES[update], axis=-1))
    return split(inputs), split(products)


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


def _at(arrays, position):
    return jax.tree.map(lambda a: a[position], arrays)


def _put(position, buffer, array):
    return lax.dynamic_update_index_in_dim(buffer, array, position, 0)


def _where(condition, new, old):
    return jax.tree.map(partial(jnp.where, condition), new, old)


@jax.custom_batching.custom_vmap
def _shared(total):
    """Returns the number of positions; under vmap the largest, the same for all.

    A loop whose length differs among members copies its buffers at each step.
    """
    return total


@_shared.def_vmap
def _(axis_size, in_batched, total):
    return _shared(total.max()), False
