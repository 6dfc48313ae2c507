import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path, re_path
from websocket_common import ABOUT_CODE, ABOUT_REASON, PAGE, choose, last
from websocket_common import about as about_json

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="tests only", USE_TZ=True)
django.setup(set_prefix=False)


class Echo(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept(choose(self.scope["subprotocols"]))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code: int) -> None:
        last["code"] = code


class About(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept(choose(self.scope["subprotocols"]))
        await self.send(about_json("channels", self.scope))
        await self.close(ABOUT_CODE, ABOUT_REASON)


class Denied(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.close()


async def show_last(request: HttpRequest, where: str) -> HttpResponse:
    return JsonResponse(last)


async def page(request: HttpRequest, where: str) -> HttpResponse:
    return HttpResponse(PAGE)


urlpatterns = [path("<where>/last", show_last), path("<where>/page", page)]

app = ProtocolTypeRouter(
    {
        "http": ASGIHandler(),
        "websocket": URLRouter(
            [
                re_path(r"^[\w-]+/echo$", Echo.as_asgi()),
                re_path(r"^[\w-]+/about$", About.as_asgi()),
                re_path(r"^[\w-]+/denied$", Denied.as_asgi()),
            ]
        ),
    }
)
