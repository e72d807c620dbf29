"""`python -m asyncjobs`: the command line where the console script is not at hand."""

from .cli import main

main()
