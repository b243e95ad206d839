"""The words that no text of the project holds, written in pieces so that this file keeps the rule."""

import re


def _whole(pieces: str) -> re.Pattern[str]:
    """Put a pattern together from its pieces."""
    return re.compile(pieces.replace("~", ""), re.IGNORECASE)


PLACES = _whole(r"/ro~ot/|/wo~rk/|/ho~me/|[a-z]:\\us~ers")
REGISTRIES = _whole(
    r"py~pi\.org|python~hosted\.org|npm~js\.(org|com)|deb\.deb~ian\.org|docker~\.io|gh~cr\.io|qu~ay\.io"
    r"|proxy\.gol~ang\.org|crates~\.io"
)
CHATTER = _whole(
    r"\bissue~ #|\bhelper ses~sion|\b(this|our|previous) ses~sion\b|\bai assis~tant\b|\blanguage mo~del\b"
)
LEFT_OVER = re.compile(_whole(r"\b(TO~DO|FIX~ME|XX~X)\b").pattern)
