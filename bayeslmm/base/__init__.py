"""What every other package uses and that knows no genetics: errors, checks, files, text tables, long tasks."""
