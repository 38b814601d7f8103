"""An export to S3, full or of a window.

export          requested, and waited for
manifest        its files, as DynamoDB lists them
read            one file becomes lines
incremental, numbers                 an import after an outage: its changes, with sequence numbers that fit
vanished        items that were deleted during the outage
"""
