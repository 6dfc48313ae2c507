"""Scheduling pieces without HTTP: eager starts, wake-ups, waiters, the clock."""
