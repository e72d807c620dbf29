"""The Quart extension."""

from .extension import QuartJobs

__all__ = ["QuartJobs"]
