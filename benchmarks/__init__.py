"""Benchmarks of dynalake and its alternatives, in the same run (`make bench`, docs/performance.md)."""
