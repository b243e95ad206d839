"""Talk to the API with nothing but the standard library: a client that needs no time to start."""

import http.client
import json
import sys
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from shlex import quote as shell_quote
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from services.cli.core.complaint import overloaded, unreachable
from services.cli.core.exits import Exit
from services.cli.failure import Failure

API = "/api/v1"
ANSWER_TIMEOUT_S = 15.0
"""Longer than the API tries to reach the log."""
RETRY_FOR_S = 10.0
RETRY_FIRST_S, RETRY_MOST_S = 0.2, 2.0
ANSWER_MAX = 64 * 1024 * 1024

Body = dict[str, Any]

_UNSURE = {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
"""Answers after which nobody knows what was done."""


@dataclass(frozen=True)
class Ask:
    """One request, and what it is for in a person's words: `start vm web-01`."""

    doing: str
    method: str
    path: str
    body: Body | None = None


@dataclass(frozen=True)
class Client:
    """Where the API is and what we prove ourselves with."""

    url: str
    token: str

    def get(self, doing: str, path: str, **query: object) -> Body:
        """Read; raises Failure. *doing* says what for: `list vms`."""
        return self.plain(doing, f"{API}{path}", **query)

    def plain(self, doing: str, path: str, **query: object) -> Body:
        """Read a path outside of the API's own; raises Failure."""
        given = {name: value for name, value in query.items() if value is not None}
        asked = f"{path}?{urlencode(given, quote_via=quote)}" if given else path
        return self._send(Ask(doing, "GET", asked), {}, wait_s=float(str(query.get("wait", 0))))

    def pages(self, doing: str, path: str, most: int, **query: object) -> list[Body]:
        """Read a list page by page until it ends or *most* items are there; raises Failure."""
        items: list[Body] = []
        cursor: str | None = None
        while len(items) < most:
            limit = min(500, most - len(items))
            page = self.get(doing, path, **query, limit=limit, cursor=cursor)
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return items

    def command(self, ask: Ask, key: str) -> Body:
        """Send a command until it is answered, for RETRY_FOR_S, under one *key*.

        Raises Failure, which tells the key where it is not known whether the command was accepted.
        """
        headers = {"Idempotency-Key": key}
        sent = replace(ask, path=f"{API}{ask.path}")
        pause_s, until = RETRY_FIRST_S, 0.0
        while True:
            try:
                return self._send(sent, headers)
            except Failure as failure:
                now = time.monotonic()
                if not failure.passing or (until and now + pause_s > until):
                    if until or _is_unsure(failure):
                        raise _telling(failure, key) from failure
                    raise
                if not until:
                    until = now + RETRY_FOR_S
                    again = f"trying again for {RETRY_FOR_S:g} s under the same key: --key {shell_quote(key)}"
                    sys.stderr.write(f"{failure}\n{again}\n")
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_MOST_S)

    def _send(self, ask: Ask, headers: dict[str, str], wait_s: float = 0) -> Body:
        to = urlsplit(self.url)
        secure = to.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(to.hostname or "", to.port, timeout=ANSWER_TIMEOUT_S + wait_s)
        sent = {"Accept": "application/json", **headers}
        sent |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        sent |= {"Content-Type": "application/json"} if ask.body is not None else {}
        try:
            data = None if ask.body is None else json.dumps(ask.body)
            connection.request(ask.method, f"{to.path.rstrip('/')}{ask.path}", data, sent)
            answer = connection.getresponse()
            text = answer.read(ANSWER_MAX)
        except (OSError, http.client.HTTPException) as err:
            why = getattr(err, "strerror", None) or str(err) or type(err).__name__
            raise Failure(
                ask.doing, unreachable(self.url, why.lower()), Exit.UNREACHABLE, passing=True
            ) from err
        finally:
            connection.close()
        return _read(ask.doing, self.url, answer.status, text)


def _is_unsure(failure: Failure) -> bool:
    return failure.passing or failure.problem.get("status") in _UNSURE


def _telling(failure: Failure, key: str) -> Failure:
    return Failure(failure.doing, {**failure.problem, "idempotency_key": key}, failure.exit_code)


def _read(doing: str, url: str, status: int, text: bytes) -> Body:
    try:
        body: Any = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict) or (status >= HTTPStatus.BAD_REQUEST and "detail" not in body):
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise Failure(doing, overloaded(url), Exit.UNREACHABLE, passing=True)
        why = f"{url} answered {status}, but not as roost does"
        problem = {"detail": why, "hint": "is --url right?", "status": status}
        raise Failure(doing, problem, Exit.UNREACHABLE)
    if status >= HTTPStatus.BAD_REQUEST:
        raise Failure(doing, body, passing=status == HTTPStatus.SERVICE_UNAVAILABLE)
    return body
