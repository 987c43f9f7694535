"""Compares a PyTorch module with its Flax twin."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import PyTree

from jaxdl.parity.diagnosis import diagnose
from jaxdl.parity.flax_side import flax_side, initial_variables, output_shapes
from jaxdl.parity.problem import Loss, Problem, as_inputs
from jaxdl.parity.report import Cause, Report, Values, rows_of
from jaxdl.parity.torch_side import randomised_copy, torch_side, untied_state_dict
from jaxdl.parity.traps import FLOAT32, ONE_BIAS
from jaxdl.torch_weights import MisfitError, from_state_dict
from jaxdl.torch_weights.layouts import with_own_names


def compare(
    torch_module: Any,
    flax_module: nn.Module,
    inputs: Any,
    *,
    steps: int = 0,
    torch_optimizer: Callable[[Any], Any] | None = None,
    optimizer: optax.GradientTransformation | None = None,
    losses: tuple[Loss, Loss] | None = None,
    rename: Mapping[str, str] | None = None,
    flattened: Mapping[str, Sequence[int]] | None = None,
    channels_first: bool | None = None,
    tolerance: float = 1e-9,
    seed: int = 0,
) -> Report:
    """Carries PyTorch's weights over and compares both in float64, on the CPU.

    Compared are the outputs of all modules of the same name in evaluation and in
    training, the gradients of inputs and parameters, running statistics, and after each
    of `steps` training steps on the same batch the loss, statistics, what the
    optimisers keep, and parameters. Differences are max|flax - torch| over max|torch|,
    and may be `tolerance`; after steps, which amplify rounding, 10 · step as much.

    Then known traps are put into a copy of the PyTorch module, one by one: with which
    does it agree? They are looked for in modules, not in functions that a module calls.

    `inputs` is one array or a tuple, channels last. PyTorch gets arrays of 4 axes or
    more with channels first; of 3 too with `channels_first` (Conv1d), none with False.
    Packed sequences within PyTorch's module are compared padded.
    Weights and statistics are changed a little, by `seed`: zeros and ones hide much.
    The modules given stay as they are. Flax's is told of its mode by the keyword
    `train`, `training`, `is_training`, `deterministic` or `use_running_average` that
    its call has. Dropout is off, since masks never match.

    `torch_optimizer` makes an optimiser of the network, as
    `lambda net: torch.optim.Adam(net.parameters())`, and `optimizer` is optax's. By
    default both are SGD of rate 0.01 and momentum 0.9. `losses` are two functions from
    outputs to a number, PyTorch's and JAX's; by default the squared error to random
    targets. `rename` and `flattened` are those of `from_state_dict`.

    Raises:
      ValueError: `rename` or `flattened` names what is not there, only one optimiser is
        given, a recurrent layer has dropout, the second module is none of Flax, the
        inputs are no arrays, or a module cannot take them.
    """
    if (torch_optimizer is None) != (optimizer is None):
        raise ValueError("give both torch_optimizer and optimizer, or neither")
    if not isinstance(flax_module, nn.Module):
        kind = type(flax_module).__name__
        raise ValueError(f"flax_module is a {kind}; PyTorch's comes first, then Flax's")
    if steps < 0:
        raise ValueError(f"steps={steps} is below 0")
    title = f"{type(torch_module).__name__} and {type(flax_module).__name__}"
    arrays = as_inputs(inputs)
    cpu = jax.devices("cpu")[0]
    with jax.enable_x64(True), jax.default_device(cpu):
        net = randomised_copy(torch_module, seed)
        given, wanted = untied_state_dict(net), _wanted(flax_module, arrays)
        rename = with_own_names(rename, wanted, given, flattened)
        try:
            variables = from_state_dict(
                given, wanted, rename=rename, flattened=flattened
            )
        except MisfitError as error:
            known = _misfit_causes(str(error))
            return Report(title, (), known, bool(known), str(error))
        rng = np.random.default_rng(seed + 1)
        shapes = output_shapes(flax_module, variables, arrays)
        problem = Problem(
            inputs=arrays,
            targets=[rng.normal(size=shape) for shape in shapes],
            channels_first=channels_first,
            losses=losses,
            make_torch_optimizer=torch_optimizer or _sgd,
            optimizer=optimizer or optax.sgd(0.01, momentum=0.9),
            rename=rename,
            flattened=flattened,
        )
        ours = flax_side(flax_module, variables, problem, steps)
    return _report(title, net, problem, ours, steps, tolerance)


def assert_parity(
    torch_module: Any, flax_module: nn.Module, inputs: Any, **options: Any
) -> None:
    """Raises AssertionError, with the report of `compare`, unless both agree."""
    compare(torch_module, flax_module, inputs, **options).check()


def _report(
    title: str, net: Any, problem: Problem, ours: Values, steps: int, tolerance: float
) -> Report:
    try:
        side = torch_side(net, problem, steps)
    except RuntimeError as error:
        shapes = ", ".join(str(problem.for_torch(a).shape) for a in problem.inputs)
        raise ValueError(
            f"the PyTorch module fails on inputs of shape {shapes}, given with"
            f" channels_first={problem.channels_first}: {error}"
        ) from error
    rows = rows_of(ours, side.values, tolerance, problem.channels_first)
    narrow = any(map(_is_narrow, ours.values()))
    if narrow:
        tolerance = max(tolerance, 1e-4)

    def run(faults, with_steps):
        values = torch_side(net, problem, steps * with_steps, faults).values
        return rows_of(ours, values, tolerance, problem.channels_first)

    causes: tuple[Cause, ...] = ()
    explained = True
    if not all(row.agrees for row in rows):
        causes, explained = diagnose(net, problem, side, run)
        causes = (FLOAT32, *causes) if narrow else causes
    return Report(title, rows, causes, explained)


def _wanted(module: nn.Module, arrays: Sequence[np.ndarray]) -> PyTree:
    """The shapes of the variables, floats as float64."""
    try:
        variables = jax.eval_shape(
            lambda *x: initial_variables(module, x), *map(jnp.asarray, arrays)
        )
    except TypeError as error:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(
            f"the Flax module fails on inputs of shape {shapes}: {error}"
        ) from error
    return jax.tree.map(
        lambda x: (
            jax.ShapeDtypeStruct(x.shape, jnp.float64)
            if jnp.issubdtype(x.dtype, jnp.floating)
            else x
        ),
        variables,
    )


def _sgd(net: Any) -> Any:
    torch = import_module("torch")
    return torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)


def _is_narrow(array: np.ndarray) -> bool:
    return array.dtype != np.float64 and array.dtype.kind not in "iub"


def _misfit_causes(table: str) -> tuple[Cause, ...]:
    """One of the two biases of a recurrent layer has no place in Flax."""
    unused = "".join(line for line in table.splitlines() if "  unused" in line)
    return (ONE_BIAS,) if ("bias_hh" in unused) != ("bias_ih" in unused) else ()
