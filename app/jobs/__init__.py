"""The queue, the supervisor of heavy steps, and what jobs report."""
