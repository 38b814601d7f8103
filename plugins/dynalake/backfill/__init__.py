"""Backfill: the data that was there before the capture began, read once into `dt=00000000/{run}/`."""
