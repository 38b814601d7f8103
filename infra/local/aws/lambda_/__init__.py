"""Lambda: mappings of event sources, their life and their batches."""
