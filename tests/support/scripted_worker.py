"""A worker that has one thread, which is stuck from the start; it says so, twice, when it hears ``go on``."""

from __future__ import annotations

import socket
import sys

from sidegate.config.plain import unpack
from sidegate.config.schema import Config
from sidegate.ipc.control import Decoder, encode, receive_first
from sidegate.observe.cells import Area
from sidegate.observe.observer import Observer


def main(control: socket.socket) -> None:
    """Until it is killed, or told to drain."""
    first = receive_first(control)
    if first is None:
        return
    name = first["backend"]
    observer = Observer(unpack(Config, first["config"]), Area(first["cells"]).cells)
    observer.pool(name).placed_at_once()
    meter = observer.threads(name)
    meter.began()
    meter.stuck()
    control.sendall(encode("ready", engines={}, interfaces={name: "WSGI application, 1 thread"}))
    decoder = Decoder()
    while data := control.recv(65536):
        for message in decoder.feed(data):
            if message["type"] == "drain":
                return
            control.sendall(2 * encode("exhausted", backend=name))


main(socket.socket(fileno=int(sys.argv[2])))
