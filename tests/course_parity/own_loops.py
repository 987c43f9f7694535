"""What has to be replaced in lessons that train by a loop of their own."""

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import training
from tests.course_parity.trainings import EnoughSeen, float64

if TYPE_CHECKING:
    from tests.course_parity.recording import Recorder


def descend(recorder: "Recorder", module: ModuleType) -> dict[str, Callable]:
    """Of `gradient_descent`: the losses are those along the path that it returns."""

    def recorded(key, loss, theta, data, size, steps, rate):
        path = module_descend(key, loss, theta, data, size, steps, rate)
        n, keys = len(data[0]), jax.random.split(key, steps)
        rows = jax.vmap(lambda key: jax.random.permutation(key, n)[:size])(keys)
        seen = tuple(array[rows] for array in data)
        losses = jax.jit(jax.vmap(loss))(path[:-1], *seen)
        data = dict(zip("xy", data, strict=False))
        start, rows = {"theta": path[0]}, [*np.asarray(rows)]
        recorder.add(start, (), data, rows, np.asarray(losses), None)
        recorder.stop_if_enough()
        return path

    module_descend = module.descend
    return {"descend": recorded}


def scanned_steps(recorder: "Recorder", module: ModuleType) -> dict[str, Callable]:
    """Of `initialization`, which scans a step of its own over batches drawn before."""
    given: dict[str, Any] = {}
    met: list[float] = []

    def initialize(*arguments):
        jax.effects_barrier()
        met.clear()
        given["params"] = float64(module_initialize(*arguments))
        return given["params"]

    def take(data, rows):
        recorder.add(given["params"], (), data, [*np.asarray(rows)], np.zeros(0), None)
        return float64(training.take(data, rows))

    def note(loss):
        met.append(float(loss))
        recorder.trainings[-1] = recorder.trainings[-1]._replace(losses=np.array(met))

    def step(params, batch):
        after, (outputs, grads, loss) = module_step(params, batch)
        jax.debug.callback(note, loss, ordered=True)
        return after, (outputs, grads, loss)

    module_initialize, module_step = module.initialize, module.step
    return {"initialize": initialize, "take": take, "step": step}


def edge_steps(recorder: "Recorder", module: ModuleType) -> dict[str, Callable]:
    """Of `convolution`, which learns a kernel from one image by a step of its own."""
    met: list[float] = []

    def step(params, X, Y, learning_rate):
        params = float64(params)
        if not met:
            params["bias"] = jnp.asarray(params["bias"])
            data = {"x": X[None], "y": Y[None]}
            recorder.add(params, (), data, [], np.zeros(0), None)
        error = module.F.corr2d(X, params["weight"]) + params["bias"] - Y
        met.append(float((error**2).sum()))
        recorder.trainings[-1].rows.append(np.arange(1))
        recorder.trainings[-1] = recorder.trainings[-1]._replace(losses=np.array(met))
        if len(met) == recorder.limit:
            raise EnoughSeen
        return module_step(params, X, Y, learning_rate)

    module_step = module.step
    return {"step": step}


OWN_LOOPS = {
    "gradient_descent": descend,
    "initialization": scanned_steps,
    "convolution": edge_steps,
}
