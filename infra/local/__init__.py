"""A local AWS for the tests and the demo: ministack, started in-process with corrections."""
