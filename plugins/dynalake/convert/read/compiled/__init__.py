"""The compiled reader.

blocks, parse   blocks of whole lines
program, scan   the compiled pass over a block, and the tree of types that it follows
columns         a block's columns, and what did not fit
compiled        the reader, over a batch
"""
