"""Work and its faults.

workers         who does the parts of a large piece of work
spool           tables in memory, and on disk beyond a limit
threads         what a process does on two cores
steps           steps that do not stop each other
findings        what a night or a scrub reports to the watch
"""
