import django
from common import CHUNK, ApplicationFailed, Digest, Listeners, apattern
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="tests only", USE_TZ=True)
django.setup(set_prefix=False)

listeners = Listeners()


async def hello(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {"framework": "django", "method": request.method, "path": request.path, "query": request.GET["name"]}
    )


async def upload(request: HttpRequest) -> HttpResponse:
    digest = Digest()
    while chunk := request.read(CHUNK):
        digest.feed(chunk)
    return JsonResponse(digest.as_json())


async def download(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(apattern(int(request.GET["size"])), content_type="application/octet-stream")


async def events(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(listeners.stream(), content_type="text/event-stream")


async def show_listeners(request: HttpRequest) -> HttpResponse:
    return JsonResponse(listeners.as_json())


async def error(request: HttpRequest) -> HttpResponse:
    raise ApplicationFailed


urlpatterns = [
    path("hello", hello),
    path("upload", upload),
    path("download", download),
    path("events", events),
    path("listeners", show_listeners),
    path("error", error),
]

app = ASGIHandler()
