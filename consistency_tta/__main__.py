"""``python -m consistency_tta``, and the program ``consistency-tta``."""

import signal
import sys
from pathlib import Path


def console() -> None:
    """Run the command line; what its ``main`` returns is for Python callers, not an exit code.

    After Ctrl+C the exit status is 130, as shells have it, wherever the command was: also in imports, of which some are
    here for that reason.
    """
    # As with `python -m`, a loss written in the current folder is found. Last: it shadows nothing that is installed.
    sys.path.append(str(Path.cwd()))
    try:
        from consistency_tta.cli import main

        main()
    except (KeyboardInterrupt, ImportError) as error:
        if not _interrupted(error):
            raise
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's threads may still have to end: again, and all ends
        sys.stderr.write("interrupted\n")
        raise SystemExit(128 + signal.SIGINT) from None


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl+C is behind an error: modules written in C make it an ImportError where they are imported."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


if __name__ == "__main__":
    console()
