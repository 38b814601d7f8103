"""The Glue catalog of the lake: types, tables, partitions, views and the watermark."""
