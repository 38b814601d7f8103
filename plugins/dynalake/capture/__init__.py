"""Capture: the source's stream, the stacks that carry its changes, and the proof that they arrive."""
