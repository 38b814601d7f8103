"""S3: owners of buckets, their properties, objects."""
