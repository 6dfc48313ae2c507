"""TLS towards clients: contexts, certificates, read buffers."""
