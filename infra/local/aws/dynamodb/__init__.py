"""DynamoDB: scans, streams, exports."""
