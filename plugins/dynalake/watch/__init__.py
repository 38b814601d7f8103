"""Stage 7, watch: how fresh, how late and how right the lake is; what the DAG judges and the page shows."""
