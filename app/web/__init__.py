"""HTML pages, one file a page area."""
