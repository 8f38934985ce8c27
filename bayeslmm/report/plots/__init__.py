"""Pictures, one file for each question."""
