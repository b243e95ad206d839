"""Find the server and the token: options, then environment, then `.roost-dev` in the current directory."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import click

DEFAULT_URL = "http://127.0.0.1:8080"
DEV = Path(".roost-dev")


def server_url(option: str | None) -> str:
    """Give the API's address; raises click.UsageError for one that is none."""
    places = (
        ("--url", option),
        ("ROOST_URL", os.environ.get("ROOST_URL")),
        (DEV / "url", _line_of(DEV / "url")),
    )
    where, url = next(((where, url) for where, url in places if url), ("", DEFAULT_URL))
    if not _is_address(url):
        allowed = "write http://HOST:PORT or https://HOST:PORT in ASCII, with a port up to 65535"
        raise click.UsageError(f"{where}: {url!r} is no address of a server: {allowed}")
    return url


def token() -> str:
    """Give the token, or nothing; raises click.UsageError for one that no header can carry."""
    given, named = os.environ.get("ROOST_TOKEN"), os.environ.get("ROOST_TOKEN_FILE")
    if given:
        where, found = "ROOST_TOKEN", given.strip()
    elif named:
        where, found = f"ROOST_TOKEN_FILE {named}", _content_of(named)
    else:
        where, found = str(DEV / "token"), _line_of(DEV / "token")
    if not (found.isascii() and found.isprintable()):
        raise click.UsageError(f"{where}: a token is one line of printable ASCII characters")
    return found


def _content_of(named: str) -> str:
    try:
        return Path(named).read_text().strip()
    except OSError as err:
        raise click.UsageError(f"ROOST_TOKEN_FILE {named}: {err.strerror}") from err
    except UnicodeError as err:
        raise click.UsageError(f"ROOST_TOKEN_FILE {named}: this is no text") from err


def _is_address(url: str) -> bool:
    try:
        to = urlsplit(url)
        # What http.client and the resolver stumble over: a port beyond 65535, a label beyond 63 letters.
        known = to.port is None or to.port > 0
        host = (to.hostname or "").encode("idna")
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url
    return plain and known and bool(host) and to.scheme in {"http", "https"}


def plain_wanted() -> bool:
    """Say whether colours are unwanted (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def _line_of(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeError):
        return ""  # Not in a folder of `roost dev`, or not ours to read.
