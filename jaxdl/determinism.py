"""The same bits from every process on the same GPU."""

import os

FLAG = "--xla_gpu_deterministic_ops=true"


def make_deterministic() -> None:
    """Makes XLA choose GPU kernels that give the same bits in every run.

    On CPU one key gives one result as it is. On a GPU, XLA times several
    kernels and keeps the fastest, another one in another process perhaps, and some
    kernels add in no fixed order. This sets `--xla_gpu_deterministic_ops=true` in
    XLA_FLAGS, which rules out both; programs get slower, and an operation without any
    deterministic kernel (select-and-scatter, the gradient that XLA gives max pooling)
    fails to compile.

    Raises:
      RuntimeError: JAX has started its devices, and no longer reads XLA_FLAGS.
    """
    from jax._src import xla_bridge  # JAX has no public way to ask

    if xla_bridge.backends_are_initialized():
        raise RuntimeError("make_deterministic() must come before JAX's first use")
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}".strip()
