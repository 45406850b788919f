"""Every kind of job, in the order the pages show them."""

from app.jobs.kind import JobKind

JOB_KINDS: list[JobKind] = []
