"""Prints docs/evaluation.md's table of the largest relative differences over a few random draws.

    python -m tools.metric_parity

Needs scipy. The others' arithmetic is called where a package can be had, and written out plainly, on whole matrices,
where not; the row of ``frechet_audio_distance`` appears where that package is installed (the extra ``laion``).
"""

from __future__ import annotations

from tools.metric_parity.comparison import largest_difference, rows


def main() -> None:
    """Print the table."""
    print("| ours | against | largest relative difference |\n|---|---|---|")
    for row in rows():
        print(f"| `{row.ours}` | {row.theirs} | {largest_difference(row):.0e} |")


if __name__ == "__main__":
    main()
