"""What a run reads, decided once for every retry.

limit           the read capacity that a run may use
filter          which items are kept
windows         the windows of an import
estimate, quote  what it takes
run             the run's plan
"""
