"""The route map: which backend answers a request."""
