"""Draw identities. The only random source of the processes."""

import secrets
import time
from uuid import UUID, uuid4

_NS_PER_MS = 1_000_000


def random_id() -> UUID:
    """Draw an id that nobody can predict (an event's: a guessed id could swallow another writer's event)."""
    return uuid4()


def time_ordered_id() -> UUID:
    """Draw an id that sorts by its millisecond of birth (UUIDv7, RFC 9562 section 5.7)."""
    ms = time.time_ns() // _NS_PER_MS
    bits = ms << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return UUID(int=bits)
