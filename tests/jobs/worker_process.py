"""A worker that knows the counting kind: `python -m tests.jobs.worker_process`."""

import logging
import sys

from app.jobs.worker import run_worker
from app.settings import load_settings

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(run_worker(load_settings(), kinds_module="tests.jobs.counting_kind"))
