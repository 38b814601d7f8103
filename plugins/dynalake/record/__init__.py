"""The change record: attribute values, item keys, one line of JSON per change (standard library only)."""
