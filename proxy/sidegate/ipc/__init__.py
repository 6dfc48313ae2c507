"""Modules that the supervisor and its children share: control messages and borrowed packages."""
