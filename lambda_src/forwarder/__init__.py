"""The forwarder: a Lambda function that sends a DynamoDB stream's changes on to Kinesis or Firehose.

It runs with the standard library, the runtime's botocore, and the parts of `dynalake` that ship in its archive.
"""
