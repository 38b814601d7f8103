"""Raw objects as typed columns: the exact reader in Python, and the compiled one, which gives the same and is fast."""
