"""In a checkout, the harnesses of `asyncjobs torture`, which are kept with the tests.

A wheel has that folder itself in the place of this module, which leads there: one home, one name.
"""

from pathlib import Path

# What makes a module a package whose modules are elsewhere.
__path__ = [str(Path(__file__).parents[2] / "tests" / "torture")]
