"""The reason phrases of status codes (RFC 9110 15), for the status line of HTTP/1.1 and for the error page.

Python's table names some codes as earlier RFCs did, and how many depends on its version.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

PHRASES: Final[dict[int, str]] = {
    **{status.value: status.phrase for status in HTTPStatus},
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
