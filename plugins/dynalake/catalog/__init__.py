"""The Glue catalog of the lake: tables, partitions, views and the watermark."""
