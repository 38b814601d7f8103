"""The table that the fixture `finished_setup` fills and sets up, and that tests set up and convert again."""

AGAIN = "AGAIN"
AGAIN_ITEMS = 300
