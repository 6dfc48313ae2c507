"""The smallest Django project: one file. A project of several has its `application` in `asgi.py`."""

import os
from importlib.metadata import version

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import re_path

settings.configure(
    ALLOWED_HOSTS=["*"],  # Sidegate hands on the host that was asked for
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "not secret: this example signs nothing"),
)


async def about(request: HttpRequest) -> JsonResponse:
    """Which process answered, and what it makes of the request."""
    return JsonResponse({"django": version("django"), "process": os.getpid(), "url": request.build_absolute_uri()})


urlpatterns = [re_path("", about)]  # whatever the path
application = ASGIHandler()
