"""DynamoDB's exports to S3, and the point-in-time recovery that they need.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.HowItWorks.html
"""
