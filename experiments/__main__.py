"""Lists the lessons: python -m experiments"""

import ast
from pathlib import Path


def lessons() -> dict[str, str]:
    """Returns every lesson's name and the question that its docstring begins with."""
    paths = sorted(Path(__file__).parent.glob("[!_]*.py"))
    modules = {path.stem: ast.parse(path.read_text()) for path in paths}
    return {
        name: (ast.get_docstring(module) or "").split("\n")[0]
        for name, module in modules.items()
    }


if __name__ == "__main__":
    found = lessons()
    width = max(map(len, found))
    for name, question in found.items():
        print(f"{name:{width}}  {question}")
    print("\nRun one with `python -m experiments.lenet`; --help explains its settings.")
