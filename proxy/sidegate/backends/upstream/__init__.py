"""Requests that go to other processes: connections, streams, balancing, retry, relay, tunnel."""
