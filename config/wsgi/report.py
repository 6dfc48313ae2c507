"""A Flask application whose requests take a while: what threads are for."""

import os
import threading
import time

from flask import Flask

app = Flask(__name__)


@app.get("/report/<float:seconds>")
def report(seconds: float) -> dict[str, object]:
    """Take so long; tell who did the work."""
    time.sleep(seconds)
    return {"process": os.getpid(), "thread": threading.current_thread().name, "seconds": seconds}
