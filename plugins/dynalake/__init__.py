"""dynalake: DynamoDB tables, continuously and completely, in an S3 data lake."""
