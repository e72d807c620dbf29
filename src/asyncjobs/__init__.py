"""Turn any Quart endpoint into a durable background job with one decorator."""

from .current import current_job
from .errors import AsyncJobsError
from .job import Job, Progress, Request, Response, State
from .jobs import Jobs
from .settings import Settings
from .store import ANYONE, Query, Store
from .web import QuartJobs

__all__ = [
    "ANYONE",
    "AsyncJobsError",
    "Job",
    "Jobs",
    "Progress",
    "QuartJobs",
    "Query",
    "Request",
    "Response",
    "Settings",
    "State",
    "Store",
    "current_job",
]
