"""Projects, prompts and their import, rounds."""
