"""Applications that run in this process: loading, lifespan, ASGI, WSGI."""
