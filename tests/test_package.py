"""The package as a whole: what imports what, and what the tools say of it."""

import ast
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {
    "orbax", "tensorflow_datasets", "tensorflow", "matplotlib", "torch", "sklearn",
    "tensorboard", "grain", "faker", "rich", "yaml", "tyro",
    "safetensors",
}  # fmt: skip


def modules_loaded_by(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(done.stdout.split())


def test_import_jaxdl_loads_nothing_else():
    ours = modules_loaded_by("import jaxdl") - modules_loaded_by("pass")
    assert ours == {"jaxdl"}


def test_a_train_step_needs_jax_optax_and_jaxtyping_only():
    ours = modules_loaded_by("from jaxdl.training import make_train_step")
    base = modules_loaded_by("import jax, optax")
    packages = {name.split(".")[0] for name in ours - base}
    assert packages <= {"jaxdl", "jaxtyping", "wadler_lindig", "numpy"}
    assert not any("pallas" in name for name in ours - base)


@pytest.mark.parametrize(
    "module",
    [
        "training",
        "functional",
        "layers",
        "models.lenet",
        "metrics",
        "data",
        "torch_weights",
        "parity",
        "zoo",
    ],
)
def test_heavy_packages_are_loaded_where_they_are_used(module):
    packages = {
        name.split(".")[0] for name in modules_loaded_by(f"import jaxdl.{module}")
    }
    # Flax itself loads orbax and rich; nothing else of ours may.
    flax = {"orbax", "rich", "yaml"} if "flax" in packages else set()
    assert not (HEAVY - flax) & packages


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "base", "limit"),
    [
        ("import jaxdl", "import jax", 1.1),
        ("from jaxdl.training import make_train_step", "import jax, optax", 1.2),
    ],
)
def test_imports_are_as_quick_as_what_they_need(ours, base, limit):
    """Timed in turns, so that whatever else the machine does slows both."""
    seconds = {ours: [], base: []}
    for _ in range(9):
        for code, times in seconds.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
            times.append(time.perf_counter() - start)
    ratio = statistics.median(seconds[ours]) / statistics.median(seconds[base])
    assert ratio <= limit


# Who may import whom. Nothing of jaxdl imports `experiments`.
LEAVES: set[str] = set()
ALLOWED = {
    "backend": LEAVES,
    "functional": {"backend", "functional"},
    "params": LEAVES,
    "initializers": LEAVES,
    "optimizers": {"optimizers", "params"},
    "metrics": {"functional"},
    "config": LEAVES,
    "determinism": LEAVES,
    "progress": LEAVES,
    "plots": {"plots"},
    "checkpoint": {"params"},
    "training": {"params", "shuffling"},
    "data": {"data", "files", "optional"},
    "optional": LEAVES,
    "layers": {"functional", "initializers", "layers"},
    "models": {"layers", "functional", "initializers", "models"},
    "resume": {"checkpoint", "files", "params", "training"},
    "shuffling": {"backend"},
    "feeds": {"training", "shuffling"},
    "loop": {"training", "progress", "resume", "feeds", "metrics"},
    "tensorboard": {"files"},
    "files": LEAVES,
    "devices": LEAVES,
    "graph": {"backend", "graph", "tensorboard"},
    "summary": {"summary", "graph"},
    "sweep": {"sweep", "training", "progress", "data", "metrics"},
    "sharding": {"params"},
    "torch_weights": {"torch_weights"},
    "zoo": {
        "zoo",
        "data",
        "initializers",
        "models",
        "optional",
        "params",
        "torch_weights",
    },
    "parity": {"parity", "torch_weights"},
    "classification": {"functional", "metrics", "training"},
    "evaluation": {"files", "metrics", "plots", "resume", "training"},
    "run": {"checkpoint", "config", "files", "graph", "params", "tensorboard"},
    "cli": {"config", "determinism", "devices"},
}


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(folder):
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    "path", sources("jaxdl"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_go_one_way(path):
    part = path.relative_to(ROOT / "jaxdl").parts[0].removesuffix(".py")
    used = {
        name.split(".")[1]
        for name in imports_of(path)
        if name.startswith("jaxdl.") and name.count(".")
    }
    if part == "__init__":
        assert not used
    else:
        assert used <= ALLOWED[part]
    assert not any(name.startswith("experiments") for name in imports_of(path))
    assert not any(name.split(".")[0] == "torch" for name in imports_of(path))


@pytest.mark.parametrize("path", sources("experiments"), ids=lambda path: path.stem)
def test_lessons_are_one_page_and_import_no_other(path):
    if path.stem.startswith("_"):
        return
    assert not any(name.startswith("experiments") for name in imports_of(path))
    assert 40 <= len(path.read_text().splitlines()) <= 90


def readme_commands():
    """The one-line commands of the README's first section of code."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_the_readme_sets_up_in_two_commands():
    setups = [line for line in readme_commands() if "pip install" in line]
    assert len(setups) == 2
    assert setups[0].endswith("python -m experiments.lenet")
    assert setups[1].endswith("pytest")


def test_ci_runs_the_readmes_test_command():
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    tests = next(line for line in readme_commands() if line.endswith("pytest"))
    assert tests in ci
    assert [line for line in ci if "pip install" in line] == [tests]


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=" ".join,
)
def test_tools_are_content(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def tracked_files():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_files_keep_to_the_project():
    """No path of a machine that they were written on."""
    for path in tracked_files():
        assert not re.search(rb"/(home|root|work|Users)/\w", path.read_bytes()), path
