"""``python -m consistency_tta``, and the program ``consistency-tta``."""

from consistency_tta.cli import main


def console() -> None:
    """Run the command line; what :func:`main` returns is for Python callers, not an exit code."""
    main()


if __name__ == "__main__":
    console()
