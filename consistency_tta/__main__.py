"""``python -m consistency_tta``, and the program ``consistency-tta``."""

import sys
from pathlib import Path

from consistency_tta.cli import main


def console() -> None:
    """Run the command line; what :func:`main` returns is for Python callers, not an exit code."""
    # As with `python -m`, a loss written in the current folder is found. Last: it shadows nothing that is installed.
    sys.path.append(str(Path.cwd()))
    main()


if __name__ == "__main__":
    console()
