"""Tables made, found, or brought back.

make            both tables of a new DynamoDB table
grow            new columns, before any file has them
identity        whether it is still the same DynamoDB table
repair, restore  what is missing is made, or brought back from the bucket
copied          metadata of a copied bucket, with its own addresses
optimizers      Glue's own optimizers, which have to be off
"""
