"""The index of the course names what exists: functions, lessons, tests, links."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "course.md").read_text()
COLUMNS = ("asked", "functions", "pytorch", "shown", "tests", "errata")
ROWS = {}
for line in TEXT.splitlines():
    if re.match(r"\| C\d", line):
        row, *cells = (cell.strip() for cell in line.split("|")[1:-1])
        ROWS[row] = dict(zip(COLUMNS, cells, strict=True))


def in_backticks(column):
    """The row and each thing in backticks, for all rows."""
    return [
        pytest.param(name, id=f"{row}-{name}")
        for row, cells in ROWS.items()
        for name in re.findall(r"`([^`]+)`", cells[column])
    ]


def found(path):
    """The module, or what is within a module, that a dotted path leads to."""
    parts = path.split(".")
    for i in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        for name in parts[i:]:
            value = getattr(value, name)
        return value
    raise ModuleNotFoundError(path)


def test_every_row_is_there_once():
    listed = re.findall(r"^\| (C\d\d) \|", TEXT, re.M)
    assert listed == [f"C{i:02}" for i in range(1, 64)]


@pytest.mark.parametrize("row", ROWS)
def test_row_is_whole(row):
    cells = ROWS[row]
    assert re.match(r"00[0-4] \S", cells["asked"]), "no note and section"
    for column in ("functions", "shown", "tests"):
        assert cells[column] != "—", f"no {column}"


@pytest.mark.parametrize("name", in_backticks("functions"))
def test_function_exists(name):
    own = name.split(".")[0] not in ("jax", "optax", "experiments")
    assert found(f"jaxdl.{name}" if own else name) is not None


@pytest.mark.parametrize("name", in_backticks("pytorch"))
def test_pytorch_has_the_name(name):
    if name.startswith(("timm.", "torchvision.")):
        pytest.skip("not a dependency of the tests")
    short = {"nn": "torch.nn", "F": "torch.nn.functional", "Tensor": "torch.Tensor"}
    first, _, rest = name.partition(".")
    found(".".join([short.get(first, first), rest]))


@pytest.mark.parametrize("name", in_backticks("shown"))
def test_lesson_or_flag_exists(name):
    if name.startswith("--"):
        config = importlib.import_module("jaxdl.config").ImageConfig
        assert name.removeprefix("--").replace("-", "_") in config.__annotations__ | (
            config.__base__.__annotations__
        )
    else:
        assert (ROOT / "experiments" / f"{name.split()[0]}.py").is_file()


@pytest.mark.parametrize("name", in_backticks("tests"))
def test_test_exists(name):
    path = ROOT / "tests" / name
    assert path.is_dir() if name.endswith("/") else path.is_file()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_link_leads_somewhere(target):
    path, _, anchor = target.partition("#")
    text = (ROOT / "docs" / path).read_text() if path else TEXT
    headings = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)", text, re.M)
    }
    assert not anchor or anchor in headings


def test_errata_are_numbered_and_each_belongs_to_a_row():
    written = re.findall(r"^- \*\*(E\d+)\*\* \(00[0-4][, ]", TEXT, re.M)
    assert written == [f"E{i}" for i in range(1, len(written) + 1)]
    cited = {e for cells in ROWS.values() for e in re.findall(r"E\d+", cells["errata"])}
    assert cited == set(written)
