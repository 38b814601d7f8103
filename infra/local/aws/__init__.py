"""Local AWS: ministack, corrected by service so that it answers as AWS documents. It imports nothing of dynalake."""
