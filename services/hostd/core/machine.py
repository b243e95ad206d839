"""Say when what a host is made of has changed enough to be said again."""

from events.machine import HugePages, MachineFacts, Storage

CHANGE_PERCENT = 5
"""Of the whole. A report is an event and is kept for ever: free space, which changes all the time, would
write one at every look."""


def steadied(said: MachineFacts, now: MachineFacts) -> MachineFacts:
    """Give *now* with what was *said* of free space where that is still near enough.

    Near enough: less than CHANGE_PERCENT of the whole away, and at least half of what was said to be free, so
    that the last few percent do not go unseen. It is measured from what was said: a slow drift is said, too.
    """
    storages = {one.name: one for one in said.storages}
    pages = {one.size_kib: one for one in said.hugepages}
    return now.model_copy(
        update={
            "storages": tuple(_storage(storages.get(one.name), one) for one in now.storages),
            "hugepages": tuple(_pages(pages.get(one.size_kib), one) for one in now.hugepages),
        }
    )


def _storage(said: Storage | None, now: Storage) -> Storage:
    if said is None or not _near(said.free_mib, now.free_mib, now.total_mib):
        return now
    return now.model_copy(update={"free_mib": said.free_mib})


def _pages(said: HugePages | None, now: HugePages) -> HugePages:
    if said is None or not _near(said.free, now.free, now.total):
        return now
    return now.model_copy(update={"free": said.free})


def _near(said: int, now: int, total: int) -> bool:
    return abs(now - said) * 100 < total * CHANGE_PERCENT and 2 * now >= said
