"""Runs WSGI applications (PEP 3333) as ASGI ones: in threads beside the event loop."""
