"""Data sets: what is here, and how to prepare more."""

import sys
from pathlib import Path

from jaxdl.data.bundled import BUNDLED_TABLES
from jaxdl.data.images import IMAGE_SETS
from jaxdl.data.prepare import prepare_images
from jaxdl.data.tfds_images import (
    PREPARABLE,
    half_written_parts,
    prepared_sets,
    tfds_directory,
)
from jaxdl.optional import import_optional

COMMAND = "python -m jaxdl.data"


def main() -> None:
    """Runs the command line; a mistake ends it with one line and status 2."""
    try:
        tyro = import_optional("tyro", f"`{COMMAND}`")
        tyro.extras.subcommand_cli_from_dict(
            {"list": print_sets, "prepare": prepare},
            prog=COMMAND,
            description=__doc__,
            config=(tyro.conf.PositionalRequiredArgs,),
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def print_sets(data_dir: Path | None = None) -> None:
    """Print which sets are in a directory, and which can be had.

    Args:
        data_dir: where to look; $TFDS_DATA_DIR or ~/tensorflow_datasets by default
    """
    directory = tfds_directory(data_dir)
    prepared = prepared_sets(directory)
    print(f"In {directory}:")
    for name in dict.fromkeys((*PREPARABLE, *prepared)):
        if name in prepared:
            state = f"prepared, version {prepared[name].name}"
        elif parts := half_written_parts(name, directory):
            state = f"half written ({', '.join(parts)}): {COMMAND} prepare {name}"
        else:
            state = f"not here: {COMMAND} prepare {name}"
        print(f"  {name:14} {state}")
    bundled = [name for name in IMAGE_SETS if name not in PREPARABLE]
    print(f"With scikit-learn: {', '.join((*bundled, *BUNDLED_TABLES))}")


def prepare(
    name: str, data_dir: Path | None = None, manual_dir: Path | None = None
) -> None:
    """Write a set so that lessons and tensorflow-datasets can read it.

    Args:
        name: mnist, fashion_mnist or kmnist
        data_dir: where to write it; $TFDS_DATA_DIR or ~/tensorflow_datasets by default
        manual_dir: directory of the four idx files, .gz or not, if not to be downloaded
    """
    print(f"prepared in {prepare_images(name, data_dir, manual_dir)}")


if __name__ == "__main__":
    main()
