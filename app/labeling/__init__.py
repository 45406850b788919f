"""Leases and rankings."""
