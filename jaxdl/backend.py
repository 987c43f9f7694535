"""Which forms operations take: as they are defined, or as a CPU computes them fast."""

import jax

# JAX traces a function again in another context, so no cached trace has the other form.
as_defined = jax.make_user_context(False)


def on_cpu() -> bool:
    """Whether an operation should take the form that XLA's CPU backend computes fast.

    Not within `as_defined(True)`: there a trace, to be counted or drawn, has each
    operation as it is defined, the same on every device.
    """
    return jax.default_backend() == "cpu" and not as_defined.value
