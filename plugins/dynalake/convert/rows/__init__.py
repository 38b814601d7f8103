"""Rows on their way from the readers to files: made to fit, sorted, each once, written."""
