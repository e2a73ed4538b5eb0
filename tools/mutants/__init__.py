"""Which single changes of source files their tests do not find.

    make mutants FILES="losses/stft.py consistency_tta/diffusion/guidance.py"
    python -m tools.mutants FILE ... --most 20 --tests tests/training -k ema   # other tests; options of pytest

The tests are those that mirror a file, or its folder's where there are none. They run once, traced. Then each mutant
(:mod:`tools.mutants.mutations`) is tried in a fork of that process, where everything is imported, with the tests that
reached its lines, the quickest first. Only bodies of functions change, and only in that process: a test that starts
others does not see the change. Printed are the mutants that are left, and the counts of each file.

mutmut 3.8 and cosmic-ray 8.7 do not fit. Neither drops a statement, a ``detach()`` or a ``with no_grad()``, which most
of the mutants that mattered here are; mutmut changes no decorated function; cosmic-ray starts pytest for each mutant,
which takes five CPU seconds of imports.
"""
