"""Pairs, snapshots, export and import formats."""
