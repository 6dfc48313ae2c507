"""A Django application that tells which Django it runs on; imported by workers of two virtual environments."""

import sys

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import re_path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="tests only", USE_TZ=True)
django.setup(set_prefix=False)


async def version(request: HttpRequest) -> JsonResponse:
    modules = sorted({name.partition(".")[0] for name in sys.modules} & {"pydantic", "aiohttp", "prometheus_client"})
    return JsonResponse({"django": django.get_version(), "prefix": sys.prefix, "path": request.path, "ours": modules})


urlpatterns = [re_path("", version)]

app = ASGIHandler()
wsgi_app = WSGIHandler()
