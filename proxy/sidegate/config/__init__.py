"""What the operator wrote: models (``schema``), validation and loading, and the generated references.

Importing ``sidegate.config.schema`` stays cheap, because every front and the supervisor do it and keep it: pydantic
(``validation``, ``load``), YAML and the references are imported only by those who use them, in processes that end.
"""
