"""Ours beside others: `python -m bench.peers`."""
