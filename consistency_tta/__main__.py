"""``python -m consistency_tta``, and the program ``consistency-tta``."""

import io
import os
import signal
import sys
from pathlib import Path


def console() -> None:
    """Run the command line; what its ``main`` returns is for Python callers, not an exit code.

    After Ctrl+C the exit status is 130, as shells have it, wherever the command was: also in imports, of which some are
    here for that reason. Where nobody reads standard output any more, such as behind ``| head``, it is 141.
    """
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        # Names in a caption file could not be those of files. What is ASCII is UTF-8, too: again, with that.
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # the same program
    try:
        here = str(Path.cwd())
    except FileNotFoundError:
        raise SystemExit("error: expected a folder to run in, but this one was removed: change into another") from None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # Closed, as by `>&-`: a file would get its number, and what libraries print.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # "\xe9" for what the terminal's encoding lacks, such as ASCII, or for bytes of a name that are no text.
            stream.reconfigure(errors="backslashreplace")
    # As with `python -m`, a loss written in the current folder is found. Last: it shadows nothing that is installed.
    sys.path.append(here)
    try:
        from consistency_tta.cli import main

        main()
    except BrokenPipeError:
        if not _nobody_reads("\n"):  # another pipe
            raise
    except SystemExit as stopped:
        if not _nobody_reads():
            raise
        if isinstance(stopped.code, str):
            print(stopped.code, file=sys.stderr)
    except (KeyboardInterrupt, ImportError) as error:
        if not _interrupted(error):
            raise
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's threads may still have to end: again, and all ends
        sys.stderr.write("interrupted\n")
        raise SystemExit(128 + signal.SIGINT) from None
    else:
        if not _nobody_reads():
            return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left when it ends
    raise SystemExit(128 + signal.SIGPIPE)


def _nobody_reads(text: str = "") -> bool:
    """Whether what was printed, and a text, finds no reader."""
    try:
        print(end=text, flush=True)
    except BrokenPipeError:
        return True
    return False


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl+C is behind an error: modules written in C make it an ImportError where they are imported."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


if __name__ == "__main__":
    console()
