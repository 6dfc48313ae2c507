"""The demo application that ``make run`` serves."""
