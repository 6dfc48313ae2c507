"""What one backend buffers (``bodyBuffering``, ``responseBuffering``), and the temporary files for it.

The backends of applications and of upstreams have one each. Only they know whether the application runs on threads, for
which ``auto`` buffers. A worker leaves the decision about a front's requests to the front. It raises no error.
"""

from __future__ import annotations

from sidegate.aio.temporary_files import TemporaryFiles
from sidegate.config.backends import Choice
from sidegate.config.schema import BackendConfig, Config


class Buffering:
    """One for each backend; ``files``: makes its temporary files."""

    def __init__(self, config: Config, backend: BackendConfig) -> None:
        self.files = TemporaryFiles(config.temp_directory)
        self._body: Choice = backend.body_buffering
        self._response: Choice = backend.response_buffering

    def of_body(self, on_threads: bool) -> bool:
        """Whether a request's body is buffered. ``on_threads``: threads run the application, and no front decides."""
        return self._body == "on" or (on_threads and self._body == "auto")

    def of_response(self, on_threads: bool) -> bool:
        """Whether a response is buffered that its client takes slowly."""
        return self._response == "on" or (on_threads and self._response == "auto")
