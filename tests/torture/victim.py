"""The process whose store is damaged. It writes to it until there is a file that says enough.

Run as ``python -m asyncjobs.torture.victim FOLDER SEED``.
"""

from __future__ import annotations

import logging
import sys
from itertools import count, takewhile
from pathlib import Path

from .writers import write

#: The file that has it stop.
ENOUGH = "enough"


def main() -> None:
    folder, seed = Path(sys.argv[1]), sys.argv[2]
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    write(folder, seed, takewhile(lambda _: not (folder / ENOUGH).exists(), count()))


if __name__ == "__main__":
    main()
