"""What a run reads, decided once for every retry.

request         the run's parameters
filter          which items are kept
windows         the windows of an import
estimate, quote  what it takes
run             the run's plan
"""
