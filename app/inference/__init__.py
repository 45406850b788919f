"""Sampling, scoring and embedding in pure torch, and the small server around them."""
