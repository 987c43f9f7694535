"""What the Flax twin computes, under PyTorch's names."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import PyTree

from jaxdl.parity.problem import Problem, floats, squared_error
from jaxdl.parity.report import Values
from jaxdl.parity.torch_side import named_outputs
from jaxdl.torch_weights import to_state_dict
from jaxdl.torch_weights.layouts import renamed

# optax's names for what torch.optim keeps for each parameter.
SLOTS = {
    "trace": ("momentum_buffer",),
    "mu": ("exp_avg", "grad_avg"),
    "nu": ("exp_avg_sq", "square_avg"),
    "nu_max": ("max_exp_avg_sq",),
    "sum_of_squares": ("sum",),
}


def initial_variables(module: nn.Module, inputs: Any) -> PyTree:
    """Returns what `module.init` does, for evaluation."""
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    return module.init(keys, *inputs, **_mode(module, train=False))


def apply(
    module: nn.Module, variables: PyTree, inputs: Any, *, train: bool
) -> tuple[Any, PyTree]:
    """Returns the outputs and the other collections, "intermediates" among them.

    Dropout is passed by.
    """

    def without_dropout(call, args, kwargs, context):
        if type(context.module).__name__ == "Dropout" and args:
            return args[0]
        return call(*args, **kwargs)

    updated = set(variables) - {"params"} if train else set()
    with nn.intercept_methods(without_dropout):
        return module.apply(
            variables,
            *inputs,
            **_mode(module, train=train),
            mutable=[*updated, "intermediates"],
            capture_intermediates=True,
            rngs={"dropout": jax.random.key(0)},
        )


def output_shapes(
    module: nn.Module, variables: PyTree, inputs: Any
) -> list[tuple[int, ...]]:
    """Returns the shapes of the float outputs."""
    arrays = tuple(map(jnp.asarray, inputs))
    output = jax.eval_shape(
        lambda v: apply(module, v, arrays, train=False)[0], variables
    )
    return [leaf.shape for leaf in floats(output)]


def _mode(module: nn.Module, *, train: bool) -> dict[str, Any]:
    """The keyword by which a module is told, if it takes one."""
    modes = dict.fromkeys(("train", "training", "is_training"), train)
    modes |= dict.fromkeys(("deterministic", "use_running_average"), not train)
    taken = inspect.signature(type(module).__call__).parameters
    return {name: mode for name, mode in modes.items() if name in taken}


def flax_side(
    module: nn.Module, variables: PyTree, problem: Problem, steps: int
) -> Values:
    """Runs `module`; values of layers are channels last, all others as PyTorch's."""
    inputs = tuple(map(jnp.asarray, problem.inputs))
    targets = list(map(jnp.asarray, problem.targets))

    def loss_of(params, inputs, state):
        output, new = apply(module, {"params": params, **state}, inputs, train=True)
        if problem.losses is not None:
            return problem.losses[1](output), new
        return squared_error(output, targets), new

    @jax.jit
    def forward_and_back(variables):
        state = dict(variables)
        params = state.pop("params", {})
        differentiated = [
            a if jnp.issubdtype(a.dtype, jnp.floating) else None for a in inputs
        ]

        def loss(params, differentiated):
            given = (
                a if d is None else d
                for a, d in zip(inputs, differentiated, strict=True)
            )
            return loss_of(params, tuple(given), state)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, differentiated)

    def state_dict(tree):
        rename, flattened = problem.rename, problem.flattened
        return to_state_dict(tree, rename=rename, flattened=flattened)

    evaluate = jax.jit(lambda v: apply(module, v, inputs, train=False)[1])
    values = dict(_layers("evaluation", evaluate(variables), problem.rename))
    (loss, new), (gradients, input_gradients) = forward_and_back(variables)
    values |= _layers("training", new, problem.rename)
    values["training", "loss"] = np.asarray(loss)
    for i, gradient in enumerate(input_gradients):
        if gradient is not None:
            values["input gradients", f"input {i}"] = np.asarray(gradient)
    named = state_dict({**variables, "params": gradients})
    values |= {("gradients", name): value for name, value in named.items()}
    named = state_dict({**variables, **_kept(variables, new)})
    values |= {("statistics", name): value for name, value in named.items()}

    opt_state = problem.optimizer.init(variables.get("params", {}))
    update = jax.jit(problem.optimizer.update)
    for step in range(1, steps + 1):
        if step > 1:
            (loss, new), (gradients, _) = forward_and_back(variables)
        params = variables.get("params", {})
        updates, opt_state = update(gradients, opt_state, params)
        variables = {**variables, **_kept(variables, new)}
        if params:
            variables["params"] = optax.apply_updates(params, updates)
        stage = f"step {step}"
        values[stage, "loss"] = np.asarray(loss)
        named = state_dict(variables)
        values |= {(stage, name): value for name, value in named.items()}
        for slot, tree in _slots(opt_state, variables):
            named = state_dict({**variables, "params": tree})
            values |= {(stage, f"{name} {slot}"): v for name, v in named.items()}
    return values


def _kept(variables: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The collections of the model itself among those that a call returns."""
    return {name: tree for name, tree in new.items() if name in variables}


def _layers(
    stage: str, new: Mapping[str, Any], rename: Mapping[str, str] | None
) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Yields the outputs of modules, by PyTorch's name and call."""
    is_call = lambda tree: isinstance(tree, tuple)
    leaves = jax.tree.leaves_with_path(new["intermediates"], is_leaf=is_call)
    for keys, calls in leaves:
        *path, method = (jax.tree_util.keystr((key,), simple=True) for key in keys)
        if method == "__call__":
            name = renamed(".".join(path), rename or {}) if path else ""
            calls = calls if path else calls[-1:]  # those before are of super()
            for call, output in enumerate(calls, 1):
                for key, leaf in named_outputs(name, call, output):
                    yield (stage, key), np.asarray(leaf)


def _slots(opt_state: PyTree, variables: PyTree) -> Iterator[tuple[str, PyTree]]:
    """Yields trees like params of what the optimiser keeps, by PyTorch's names.

    A part that the optimiser keeps for some parameters only is NaN for the others.
    """
    params = variables.get("params", {})
    found: dict[str, dict[Any, Any]] = {}
    for keys, leaf in jax.tree.leaves_with_path(opt_state):
        names = [str(getattr(key, "name", "")) for key in keys]
        at = [i for i, name in enumerate(names) if name in SLOTS]
        if at:
            found.setdefault(names[at[-1]], {})[keys[at[-1] + 1 :]] = leaf
    for field, leaves in found.items():
        tree = jax.tree.map_with_path(
            lambda path, p, leaves=leaves: leaves.get(path, jnp.full_like(p, jnp.nan)),
            params,
        )
        for slot in SLOTS[field]:
            yield slot, tree
