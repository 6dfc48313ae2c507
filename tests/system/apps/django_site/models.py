from django.contrib import admin
from django.db import models


class Document(models.Model):
    """A file that somebody sent."""

    title = models.CharField(max_length=100)
    file = models.FileField(upload_to="documents")

    def __str__(self) -> str:
        return str(self.title)


admin.site.register(Document)
