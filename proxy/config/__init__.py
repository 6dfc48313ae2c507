"""What the operator wrote: models (``schema``), loading (``load``) and the generated references.

Importing ``proxy.config.schema`` stays cheap, because every front and worker does it: YAML, the writer of YAML
and the references are imported only by those who use them.
"""
