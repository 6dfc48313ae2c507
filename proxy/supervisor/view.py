"""What the admin server shows of the supervisor.

Where it stands: the only module of the supervisor that knows the admin server's interface and Prometheus. The
supervisor imports it when the configuration has an admin server, because both cost memory. It reads the supervisor
and changes nothing. No error leaves it.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from proxy import __version__
from proxy.observe.collector import CellCollector, Facts, ProcessFact, make_registry
from proxy.observe.resident import resident_bytes
from proxy.supervisor.plan import Sockets
from proxy.supervisor.process import State
from proxy.supervisor.sockets import ServiceSockets
from proxy.supervisor.summary import engine_facts, route_lines
from proxy.supervisor.supervisor import Supervisor
