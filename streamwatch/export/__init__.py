"""A report as spans and metrics, as lines of the log, and as a file."""
