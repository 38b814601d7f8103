"""The lake that a setup makes or changes.

registry        what is set up, as SSM holds it
bucket          the lake's bucket
options         whether a setup may change the lake's options
"""
