"""Sidegate: a front proxy, written in Python, for Python web applications."""

__version__ = "0.1.0"
