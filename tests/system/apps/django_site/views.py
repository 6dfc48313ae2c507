from typing import BinaryIO

from common import Digest
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.forms import modelform_factory
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from wsgi_common import gated, open_gate

from django_site.models import Document

DocumentForm = modelform_factory(Document, fields=["title", "file"])

_sent: list[BinaryIO] = []


@login_required
def upload(request: HttpRequest) -> HttpResponse:
    """Keeps a document; what the file that it became holds, by size and SHA-256."""
    form = DocumentForm(request.POST, request.FILES)
    if not form.is_valid():
        return JsonResponse(form.errors, status=400)
    document = form.save()
    digest = Digest()
    with document.file.open() as file:
        for piece in file.chunks():
            digest.feed(piece)
    name, sent_as = document.file.name, type(form.cleaned_data["file"]).__name__
    document.file.delete()
    return JsonResponse({"name": name, "sentAs": sent_as, **digest.as_json()})


def stored(request: HttpRequest, name: str) -> HttpResponseBase:
    """A file of the media folder."""
    file = (settings.MEDIA_ROOT / name).open("rb")
    _sent.append(file)
    return FileResponse(file, content_type="application/octet-stream")


def files(request: HttpRequest) -> HttpResponse:
    """How many files were sent, and how many of them are still open."""
    return JsonResponse({"sent": len(_sent), "open": sum(not file.closed for file in _sent)})


def gate(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(gated(request.GET["key"]), content_type="text/plain")


def opened(request: HttpRequest) -> HttpResponse:
    open_gate(request.GET["key"])
    return HttpResponse("opened")


def session(request: HttpRequest) -> HttpResponse:
    """Who is asking, and how."""
    return JsonResponse(
        {"user": request.user.get_username(), "secure": request.is_secure(), "host": request.get_host()}
    )
