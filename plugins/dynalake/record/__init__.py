"""The change record: attribute values, item keys, one line of JSON per change (standard library only).

paths           the places of values whose type JSON cannot show
attribute       one value as JSON text
key             the key of a table's items
change          one line per change
stream          a DynamoDB Streams record as such a line
item            a line as the item that it was made from
"""
