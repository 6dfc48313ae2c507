"""A child of the supervisor that says it is ready twice, which no state allows."""

import socket
import sys

from sidegate.ipc.control import encode, receive_first

control = socket.socket(fileno=int(sys.argv[1]))
receive_first(control)
# In one piece: between two, the supervisor might already have told it to serve.
control.sendall(2 * encode("ready", engines={}, interfaces={}))
control.recv(1)
