"""Every kind of job, in the order the pages show them."""

from app.jobs.kind import JobKind
from app.jobs.kinds import dpo, generation, ppo, reward_model

JOB_KINDS: list[JobKind] = [generation.KIND, reward_model.KIND, ppo.KIND, dpo.KIND]
