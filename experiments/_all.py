"""All the lessons: their questions, a run of each, and a page of what came of them."""

import ast
import html
import io
import multiprocessing
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import NamedTuple


class Outcome(NamedTuple):
    """What a lesson came to: numbers by name, or the reason that it failed."""

    name: str
    question: str
    result: dict[str, float] | str
    seconds: float


def lessons() -> dict[str, str]:
    """Returns the first line of each lesson's docstring, by the lesson's name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        found[path.stem] = text.partition("\n")[0]
    return found


def run_lesson(name: str, directory: Path) -> dict[str, float] | str:
    """Runs a lesson with its defaults; what it prints goes to a file of its own."""
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            module = import_module(f"experiments.{name}")
            return module.main(module.Config(run_dir=str(directory)))
    except Exception as error:
        said.write(traceback.format_exc())
        return f"failed: {type(error).__name__}: {error}"
    finally:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "output.txt").write_text(said.getvalue())


def run_all(names: list[str], directory: Path) -> list[Outcome]:
    """Runs lessons one after another, each in a new process, under a progress bar."""
    from rich.progress import track

    questions, outcomes = lessons(), []
    spawn = multiprocessing.get_context("spawn")
    for name in track(names, "lessons", transient=True):
        start = time.perf_counter()
        with ProcessPoolExecutor(1, spawn) as pool:
            result = pool.submit(run_lesson, name, directory / name).result()
        seconds = time.perf_counter() - start
        outcomes.append(Outcome(name, questions[name], result, seconds))
        print(f"{name:28} {seconds:5.0f} s  {spell(result)}", flush=True)
    return outcomes


def spell(result: dict[str, float] | str) -> str:
    """Writes a result in one line."""
    if isinstance(result, str):
        return result
    return "  ".join(f"{name} {value:.4g}" for name, value in result.items())


def write_page(outcomes: list[Outcome], directory: Path) -> Path:
    """Writes a page that needs no network: results, and figures as they lie there."""
    parts = []
    for name, question, result, seconds in outcomes:
        figures = sorted((directory / name).glob("*.png"))
        figures += sorted((directory / name).glob("*.svg"))
        images = "".join(
            f'<img src="{name}/{path.name}" alt="{name}: {path.stem}">'
            for path in figures
        )
        parts.append(
            f'<section id="{name}"><h2>{html.escape(question)}</h2>'
            f"<p><code>python -m experiments.{name}</code> · {seconds:.0f} s · "
            f"{html.escape(spell(result))}</p>{images}</section>"
        )
    page = directory / "index.html"
    style = (
        "body{font:16px sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
        "img{max-width:100%;max-height:30em;margin:.3em}h2{font-size:1.1em}"
    )
    head = f"<meta charset=utf-8><title>jaxdl's lessons</title><style>{style}</style>"
    page.write_text(f"<!doctype html>{head}<h1>jaxdl's lessons</h1>{''.join(parts)}\n")
    return page
