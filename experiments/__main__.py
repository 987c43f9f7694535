"""Lists the lessons, or runs them all and shows what came of it.

    python -m experiments
    python -m experiments --all
    python -m experiments --all lenet softmax_regression

With --all every lesson, or those named, runs with its defaults in a process of its own,
below runs/all/<time>. A page there, index.html, shows their results and figures.
"""

import argparse
import sys
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from experiments._all import lessons, run_all, write_page


def main() -> None:
    known = lessons()
    parser = argparse.ArgumentParser(
        "python -m experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--all", action="store_true", help="run the lessons")
    parser.add_argument("names", nargs="*", help="lessons to run; by default all")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in known]:
        near = [like for name in unknown for like in get_close_matches(name, known)]
        hint = f"; near it: {', '.join(near)}" if near else ""
        parser.error(f"there are no lessons {', '.join(unknown)}{hint}")
    if not arguments.all:
        if arguments.names:
            parser.error(f"to run one: python -m experiments.{arguments.names[0]}")
        for name, question in known.items():
            print(f"{name:{max(map(len, known))}}  {question}")
        print(
            "\nRun one with `python -m experiments.lenet`; --help shows its settings."
        )
        return
    directory = Path("runs", "all", datetime.now().strftime("%Y%m%d-%H%M%S"))
    outcomes = run_all(arguments.names or list(known), directory)
    print(f"Results and figures: {write_page(outcomes, directory)}")
    sys.exit(any(isinstance(outcome.result, str) for outcome in outcomes))


if __name__ == "__main__":
    main()
