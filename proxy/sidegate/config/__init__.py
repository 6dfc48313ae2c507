"""The operator's configuration: models (``schema``), validation and loading, and the generated references.

The import of ``sidegate.config.schema`` stays cheap, because every front and the supervisor need it during their whole
run. pydantic (``validation``, ``load``), YAML and the references are imported only in short-lived processes that use
them.
"""
