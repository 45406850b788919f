"""Every kind of job, one file each; registry.py lists them."""
