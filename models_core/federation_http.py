"""Sites of a federation in other processes and places: plain HTTP, a token, and data alone.

A body is msgpack of a fixed shape, with safetensors inside; nothing that comes in is executed.
Put TLS before it where the network is not trusted: the token is sent as it is.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RD
from threading import Lock, Timer
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from models_core.federation import (
    MAX_BYTES,
    FederationError,
    Round,
    Site,
    SiteLostError,
    SiteRefusedError,
)
from models_core.federation_wire import (
    JOIN,
    LIMITS,
    MEDIA_TYPE,
    UPDATE,
    join_body,
    joining,
    reason_of,
    update_body,
    updating,
)

_SHORTEST_TOKEN: Final = 32  # characters
_WAIT_S: Final = 30.0  # for the rest of a request
_LINGER_S: Final = 5.0  # for the rest of a request that is refused


class _NoRedirect(HTTPRedirectHandler):
    """The token is for one address: a redirect would take it to another one."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER: Final = build_opener(_NoRedirect)


class HttpSite:
    """A site that ``serve``, or a server of Lepton, serves somewhere else.

    Args:
        name: that the site has there.
        url: ``https://host:port``, of a server ``https://host/api/v1/federation/STREAM``; ``http``
            for networks that are trusted.
        token: that the site was given.
        timeout_s: for a whole round of training there; a site that takes longer is lost.
    """

    def __init__(self, name: str, url: str, token: str, timeout_s: float = 600.0) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"url={url!r} is not http or https.")
        self._name, self._url, self._token = name, url.rstrip("/"), token
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        return self._name

    def join(self, round_: Round) -> bytes:
        return self._asked(JOIN, join_body(round_))

    def update(self, round_: Round, keys: Mapping[str, bytes], weights: bytes) -> bytes:
        return self._asked(UPDATE, update_body(round_, dict(keys), weights))

    def _asked(self, path: str, body: bytes) -> bytes:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": MEDIA_TYPE}
        request = Request(self._url + path, body, headers)  # noqa: S310 - checked when made
        told = ""
        try:
            with _OPENER.open(request, timeout=self._timeout_s) as answer:
                said: bytes = answer.read(MAX_BYTES + 1)
        except HTTPError as error:
            with suppress(OSError, HTTPException):
                told = reason_of(error.read(4000))
            why = "".join(c for c in (told or str(error.reason)) if c.isprintable())[:500]
            if error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise SiteRefusedError(f"{self._name} refused: {why}") from error
            raise SiteLostError(f"{error.code}: {why}") from error
        except (OSError, HTTPException) as error:
            raise SiteLostError(str(error)) from error
        if len(said) > MAX_BYTES:
            raise FederationError(f"{self._name} answered with more than {MAX_BYTES} bytes.")
        return said


def serve(site: Site, token: str, address: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """A server that lets whoever has the token take part with this site's rows, masked.

    Returns:
        the server, which listens: ``server_address`` has the port, ``serve_forever`` serves.

    Raises:
        ValueError: the token is shorter than 32 characters.
    """
    if len(token) < _SHORTEST_TOKEN:
        raise ValueError(f"The token has {len(token)} characters. It needs {_SHORTEST_TOKEN}.")

    class Handler(_Handler):
        served, secret, one_at_a_time = site, token.encode(), Lock()

    return ThreadingHTTPServer((address, port), Handler)


class _Handler(BaseHTTPRequestHandler):
    served: Site
    secret: bytes
    one_at_a_time: Lock
    timeout = _WAIT_S

    def do_POST(self) -> None:
        given = self.headers.get("Authorization", "").encode()
        size = self.headers.get("Content-Length", "")
        if not hmac.compare_digest(given, b"Bearer " + self.secret):
            self._refuse(HTTPStatus.UNAUTHORIZED, "The token is another one.")
        elif self.path not in LIMITS:
            self._refuse(HTTPStatus.NOT_FOUND, f"There are {JOIN} and {UPDATE}.")
        elif not size.isdigit() or int(size) > LIMITS[self.path]:
            said = f"The body has {size or 'no told'} bytes. The limit is {LIMITS[self.path]}."
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said)
        else:
            self._taken(self.rfile.read(int(size)))

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        """Answer, then let the rest of the body go by.

        A connection that is closed with bytes unread is reset, and the reset takes the answer away
        from a client that is still sending.
        """
        self._answer(status, why.encode())
        size = self.headers.get("Content-Length", "")
        left = int(size) if size.isdigit() else 0
        end = Timer(_LINGER_S, self._hang_up)
        end.daemon = True
        end.start()
        with suppress(OSError):
            while left > 0 and (passed := self.rfile.read1(2**16)):
                left -= len(passed)
        end.cancel()

    def _hang_up(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(SHUT_RD)

    def _taken(self, body: bytes) -> None:
        try:
            with self.one_at_a_time:
                answer = self._done(body)
        except (ValueError, TypeError) as error:
            self._answer(HTTPStatus.BAD_REQUEST, str(error).encode())
            return
        self._answer(HTTPStatus.OK, answer)

    def _done(self, body: bytes) -> bytes:
        if self.path == JOIN:
            return self.served.join(joining(body))
        asked = updating(body)
        return self.served.update(asked.round, asked.keys, asked.weights)

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: whoever serves logs what it wants to know."""
