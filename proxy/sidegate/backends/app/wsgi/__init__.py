"""WSGI applications (PEP 3333) as ASGI ones: on threads beside the event loop."""
