import json

import django
from common import COOKIES, ApplicationFailed, pattern
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from wsgi_common import about, about_file, digest, gated, open_gate

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="tests only", USE_TZ=True)
django.setup(set_prefix=False)


def hello(request: HttpRequest) -> HttpResponse:
    return JsonResponse(about("django", request.META, request.GET["name"]))


def form(request: HttpRequest) -> HttpResponse:
    return JsonResponse(dict(request.POST.lists()))


def file(request: HttpRequest) -> HttpResponse:
    sent = request.FILES["file"]
    return JsonResponse(about_file(request.POST["note"], sent.name, sent.file))


def json_(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"got": json.loads(request.body)})


def cookies(request: HttpRequest) -> HttpResponse:
    response = JsonResponse(request.COOKIES)
    for name, value in COOKIES.items():
        response.set_cookie(name, value)
    return response


def redirected(request: HttpRequest) -> HttpResponse:
    return redirect(reverse("hello") + "?name=redirected")


def upload(request: HttpRequest) -> HttpResponse:
    # Django itself takes a body without a length for an empty one.
    return JsonResponse(digest(request if request.META.get("CONTENT_LENGTH") else request.META["wsgi.input"]))


def download(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(pattern(int(request.GET["size"])), content_type="application/octet-stream")


def gate(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(gated(request.GET["key"]), content_type="text/plain")


def opened(request: HttpRequest) -> HttpResponse:
    open_gate(request.GET["key"])
    return HttpResponse("opened")


def error(request: HttpRequest) -> HttpResponse:
    raise ApplicationFailed


urlpatterns = [
    path("hello", hello, name="hello"),
    path("form", form),
    path("file", file),
    path("json", json_),
    path("cookies", cookies),
    path("redirect", redirected),
    path("upload", upload),
    path("download", download),
    path("gate", gate),
    path("open", opened),
    path("error", error),
]

app = WSGIHandler()
