"""Fixtures that all tests share."""

import gc
import os
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path

# Most of a small test's time is XLA compiling; this takes a third of it away. With
# XLA_FLAGS= in the environment the tests run what users run. JAX from 0.11 on ends a
# process that asks for the second; the others were tried on 0.10 only.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + (
        " --xla_cpu_use_fusion_emitters=false"
        " --xla_cpu_parallel_codegen_split_count=1"
        " --xla_llvm_disable_expensive_passes=true"
    )
    * version("jaxlib").startswith("0.10."),
)

# Two processes test at once; PyTorch's threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import jaxtyping
import numpy as np
import pytest
from hypothesis import settings
from jax._src.interpreters import mlir

# Operations need not tell XLA the whole way that Python went to them: a twentieth less.
jax.config.update("jax_include_full_tracebacks_in_locations", False)

# Tracing makes many objects that stay: to look for garbage among them less often takes
# another tenth away.
gc.set_threshold(200_000, 20, 20)


def share_contexts(make_context, programs):
    """Returns what makes a context for so many programs of a thread, one after another.

    JAX 0.10 makes one for each program, and loads MLIR's dialects into it: a fifth of
    the time of small tests. A context keeps what it was given, so none is kept for
    ever. JAX 0.12 does so itself.
    """
    local = threading.local()

    def context_for_program():
        used, context = getattr(local, "current", (programs, None))
        if used == programs:
            used, context = 0, make_context()
        local.current = used + 1, context
        return context

    return context_for_program


if jax.__version__.startswith("0.10."):
    mlir.make_ir_context = share_contexts(mlir.make_ir_context, programs=100)

# The same few examples in every run: each may take a second, when XLA compiles. Many,
# and others each time, with --hypothesis-profile=thorough.
settings.register_profile("jaxdl", derandomize=True, deadline=None, max_examples=5)
settings.register_profile("thorough", deadline=None, max_examples=200)
settings.load_profile("jaxdl")


def pytest_configure(config):
    """Lets the tests, and the processes they start, share what is compiled."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = tempfile.TemporaryDirectory()
        config.add_cleanup(cache.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # what the numbers are stated for
    jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
    # JAX read its environment when it was imported above.
    directory = os.environ["JAX_COMPILATION_CACHE_DIR"]
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x64():
    """Computes in float64, where both sides of a comparison differ by rounding only."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked():
    """Switches run-time type checks off, to see what users without them see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def tfds_dir() -> Path:
    """A directory in which tensorflow-datasets has prepared mnist and fashion_mnist."""
    candidates = [Path(__file__).resolve().parents[2] / "shared" / "data" / "tfds"]
    if os.environ.get("TFDS_DATA_DIR"):
        candidates.insert(0, Path(os.environ["TFDS_DATA_DIR"]))
    for directory in candidates:
        if all((directory / name).is_dir() for name in ("mnist", "fashion_mnist")):
            return directory
    pytest.skip(
        "mnist and fashion_mnist are not in TFDS_DATA_DIR or ../shared/data/tfds"
    )


@pytest.fixture(scope="session")
def raw_dir() -> Path:
    """A directory of the course's CSV files, gzip-compressed."""
    directory = Path(__file__).resolve().parents[2] / "shared" / "data" / "raw"
    if not directory.is_dir():
        pytest.skip("the course's CSV files are not in ../shared/data/raw")
    return directory
