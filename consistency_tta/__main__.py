"""``python -m consistency_tta``."""

from consistency_tta.cli import main

if __name__ == "__main__":
    main()
