"""Models, their files and lineage."""
