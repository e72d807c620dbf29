"""Harnesses that try to make the promises false: `asyncjobs torture`, for anybody, on their disk.

What they need of faults, failpoints and planted bugs wraps the interfaces of `Store` and `Engine`,
and is loaded by nothing else.
"""
