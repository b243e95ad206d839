"""Find the server and the token: options, then environment, then `.roost-dev` in the current directory."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import click

DEFAULT_URL = "http://127.0.0.1:8080"
DEV = Path(".roost-dev")


def server_url(option: str | None) -> str:
    """Give the API's address; raises click.UsageError for one that is none."""
    url = option or os.environ.get("ROOST_URL") or _line_of(DEV / "url") or DEFAULT_URL
    to = urlsplit(url)
    if to.scheme not in {"http", "https"} or not to.hostname:
        raise click.UsageError(f"{url!r} is no address of a server: write http://127.0.0.1:8080")
    return url


def token() -> str:
    """Give the token, or nothing; raises click.UsageError when the file that is named cannot be read."""
    given = os.environ.get("ROOST_TOKEN")
    if given:
        return given.strip()
    named = os.environ.get("ROOST_TOKEN_FILE")
    if not named:
        return _line_of(DEV / "token")
    try:
        return Path(named).read_text().strip()
    except OSError as err:
        raise click.UsageError(f"ROOST_TOKEN_FILE {named}: {err.strerror}") from err


def plain_wanted() -> bool:
    """Say whether colours are unwanted (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def _line_of(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # Not in a folder of `roost dev`, or not ours to read.
