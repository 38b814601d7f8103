"""CloudWatch: metrics, alarms, and the metrics that a Lambda function logs."""
