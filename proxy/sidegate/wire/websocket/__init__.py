"""WebSocket, sans-I/O."""
