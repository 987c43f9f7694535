import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_xla_knows_the_flag_and_keeps_others():
    """XLA ends the process at a flag that it does not know."""
    done = run(
        "import os; os.environ['XLA_FLAGS'] = '--xla_cpu_enable_fast_math=false'\n"
        "from jaxdl.determinism import make_deterministic; make_deterministic()\n"
        "import jax; print(os.environ['XLA_FLAGS'], jax.numpy.ones(1) + 1)"
    )
    assert done.stdout == (
        "--xla_cpu_enable_fast_math=false --xla_gpu_deterministic_ops=true [2.]\n"
    )


def test_too_late_is_an_error():
    done = run(
        "import jax; jax.numpy.ones(1)\n"
        "from jaxdl.determinism import make_deterministic; make_deterministic()"
    )
    assert "RuntimeError: make_deterministic() must come before" in done.stderr
