"""Environment that keeps model libraries to errors.

The logs of jobs and processes are for people, who cannot use a bar drawn for a terminal. It counts
only when set before the libraries are imported.
"""

QUIET_LIBRARIES = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTHONWARNINGS": "ignore",
    "TRANSFORMERS_VERBOSITY": "error",
}
