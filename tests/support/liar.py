"""A child of the supervisor that says it is ready twice, which no state allows."""

import socket
import sys

from sidegate.ipc.control import receive_first, send_last

control = socket.socket(fileno=int(sys.argv[1]))
receive_first(control)
send_last(control, "ready", engines={}, interfaces={})
send_last(control, "ready", engines={}, interfaces={})
control.recv(1)
