"""From nothing to the end of the first training step, by jaxdl and by plain Flax.

    python -m benchmarks.first_step

Each measurement is a process of its own, the two in turns; the clock starts when all is
imported and the batch is drawn. Images are 32×32, the optimiser is SGD with momentum
and weight decay. JAX's compilation cache is off. Beside the seconds that pass stand
those of the processors, which tell less of what else the machine does.

What was tried, in seconds of the processors on a busy machine, for DenseNet-121:

- `init` under jit takes 17, op by op 33 of wall time, Flax's `lazy_init` 20: XLA
  compiles a program for each shape that is drawn. Another generator (rbg) or less
  optimisation halves that. `zoo.create_model` cuts all kernels from one vector, on the
  host, and takes 2. The optimiser's state takes 2 op by op and 1 under jit.
- The step's 29 are 786 different kernels, most of them batch norms' of 60 widths; half
  the time is MLIR's and half LLVM's. XLA's own options change nothing beyond the noise:
  xla_backend_optimization_level=1 or 2, xla_llvm_disable_expensive_passes, no fusion
  emitters, another xla_cpu_parallel_codegen_split_count (the last for ResNet-18).
- Blocks were not scanned: dense layers differ in width, and a ResNet's stage of two
  blocks has one of each shape, so that there is nothing to share up to ResNet-34.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from benchmarks.flax_side import NETWORKS
from benchmarks.settings import Settings
from benchmarks.timing import fresh
from jaxdl import zoo
from jaxdl.functional import cross_entropy
from jaxdl.optimizers import sgd
from jaxdl.training import compiled, init_state, make_train_step

BATCHES = {"resnet18": 64, "densenet121": 16}
CLASSES = 10


class PlainDenseNet(nn.Module):
    """DenseNet-121 as Flax's examples write it."""

    @nn.compact
    def __call__(self, x, *, train):
        conv = partial(nn.Conv, use_bias=False)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        x = nn.relu(norm()(conv(64, (7, 7), (2, 2), padding=3)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for number, depth in enumerate((6, 12, 24, 16)):
            if number:
                x = conv(x.shape[-1] // 2, (1, 1))(nn.relu(norm()(x)))
                x = nn.avg_pool(x, (2, 2), (2, 2))
            for _ in range(depth):
                y = conv(128, (1, 1))(nn.relu(norm()(x)))
                y = conv(32, (3, 3), padding=1)(nn.relu(norm()(y)))
                x = jnp.concatenate([x, y], axis=-1)
        return nn.Dense(CLASSES)(nn.relu(norm()(x)).mean((1, 2)))


PLAIN = {"resnet18": NETWORKS["resnet18"], "densenet121": PlainDenseNet}
Clock = Callable[[str], None]


def first_step(name: str, batch: Any, clock: Clock) -> None:
    """jaxdl: the zoo's model, `compiled`."""
    model = zoo.create_model(name, num_classes=CLASSES, key=jax.random.key(0))
    jax.block_until_ready(model.params)
    clock("parameters")

    def loss_fn(params, model_state, batch, key):
        logits, model_state = model.module.apply(
            {"params": params, **model_state},
            batch["image"],
            train=True,
            mutable=["batch_stats"],
        )
        return cross_entropy(logits, batch["label"]), (model_state, {})

    optimizer = sgd(0.1, momentum=0.9, weight_decay=1e-4)
    begin = jax.jit(init_state, static_argnums=1)
    state = jax.block_until_ready(begin(model.params, optimizer, model.model_state))
    clock("optimiser")
    step = compiled(make_train_step(loss_fn, optimizer)).lower(
        state, batch, jax.random.key(1)
    )
    clock("tracing")
    program = step.compile()
    clock("compilation")
    jax.block_until_ready(program(state, batch, jax.random.key(1)))
    clock("step")


def plain_first_step(name: str, batch: Any, clock: Clock) -> None:
    """Flax and optax as their examples use them, both `init` compiled: it is faster."""
    model = PLAIN[name]()
    init = jax.jit(partial(model.init, train=False))
    variables = jax.block_until_ready(init(jax.random.key(0), batch["image"][:1]))
    clock("parameters")
    optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, 0.9))
    opt_state = jax.block_until_ready(jax.jit(optimizer.init)(variables["params"]))
    clock("optimiser")

    @jax.jit
    def step(variables, opt_state, batch):
        def loss_fn(params):
            logits, updates = model.apply(
                {"params": params, "batch_stats": variables["batch_stats"]},
                batch["image"],
                train=True,
                mutable=["batch_stats"],
            )
            losses = optax.softmax_cross_entropy_with_integer_labels
            return losses(logits, batch["label"]).mean(), updates

        grad = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, updates), grads = grad(variables["params"])
        updates_, new_opt = optimizer.update(grads, opt_state, variables["params"])
        params = optax.apply_updates(variables["params"], updates_)
        return {"params": params, **updates}, new_opt, loss

    lowered = step.lower(variables, opt_state, batch)
    clock("tracing")
    program = lowered.compile()
    clock("compilation")
    jax.block_until_ready(program(variables, opt_state, batch))
    clock("step")


SIDES = {"jaxdl": first_step, "plain Flax": plain_first_step}


def measure(side: str, name: str) -> dict[str, tuple[float, float]]:
    """The seconds, and the processors' seconds, of each part of one first step."""
    size = BATCHES[name]
    batch = {
        "image": jax.random.normal(jax.random.key(2), (size, 32, 32, 3)),
        "label": jnp.arange(size) % CLASSES,
    }
    jax.block_until_ready(batch)
    parts: dict[str, tuple[float, float]] = {}
    last = [time.perf_counter(), time.process_time()]

    def clock(part: str) -> None:
        now = [time.perf_counter(), time.process_time()]
        parts[part] = (now[0] - last[0], now[1] - last[1])
        last[:] = now

    SIDES[side](name, batch, clock)
    return parts


def measure_all(settings: Settings) -> dict[str, Any]:
    """Medians over fresh processes, the two sides in turns, with a part "total"."""
    found: dict[str, Any] = {}
    for name in BATCHES:
        runs: dict[str, list[dict]] = {side: [] for side in SIDES}
        for _ in range(max(1, settings.fresh_turns)):
            for side, kept in runs.items():
                done = fresh(["-m", "benchmarks.first_step", side, name])
                del done["wall"], done["cpu"]
                kept.append(done)
        found[name] = {side: medians(kept) for side, kept in runs.items()}
    return found


def medians(runs: list[dict]) -> dict[str, list[float]]:
    """Seconds, and those of the processors, of each part and of all together."""
    parts = {
        part: [statistics.median(run[part][i] for run in runs) for i in (0, 1)]
        for part in runs[0]
    }
    parts["total"] = [
        statistics.median(sum(times[i] for times in run.values()) for run in runs)
        for i in (0, 1)
    ]
    return parts


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
