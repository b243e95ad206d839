"""Follow a stream on JetStream from a position that the reader keeps itself."""

from collections.abc import Awaitable, Callable, Sequence

from nats.aio.client import Client

from events.ids import Seq
from infra.eventlog.port import Corrupt, Recorded
from infra.eventlog.pull import ConsumerGone, Puller, recorded
from infra.runtime.errors import Unavailable


class JetStreamFollower:
    """A position; the consumer behind it is thrown away and made again whenever there is doubt."""

    def __init__(
        self,
        client: Client,
        stream: str,
        after: Seq,
        *,
        make_consumer: Callable[[Seq], Awaitable[str]],
        drop_consumer: Callable[[str], Awaitable[None]],
        last_seq: Callable[[], Awaitable[Seq]],
    ) -> None:
        self._client = client
        self._stream = stream
        self._position = after
        self._make_consumer = make_consumer
        self._drop_consumer = drop_consumer
        self._last_seq = last_seq
        self._consumer = ""
        self._puller: Puller | None = None
        self._delivered = 0

    @property
    def position(self) -> Seq:
        return self._position

    async def next(self, most: int, wait_s: float) -> Sequence[Recorded]:
        if self._puller is None:
            await self._begin()
        assert self._puller is not None
        try:
            messages = await self._puller.next(most, wait_s)
        except (Unavailable, ConsumerGone) as err:
            await self.close()
            raise Unavailable("event log", str(err)) from err
        taken: list[Recorded] = []
        for message in messages:
            if message.metadata.sequence.consumer != self._delivered + 1:
                # One was lost between server and client: begin again after the last that was whole.
                await self.close()
                if not taken:
                    raise Unavailable("event log", f"a message after {self._position} was lost on its way")
                break
            self._delivered += 1
            taken.append(recorded(message))
        if taken:
            self._position = taken[-1].seq
        return taken

    async def close(self) -> None:
        """Forget the consumer here and on the server, which allows 1,000 on a stream."""
        if self._puller is not None:
            puller, self._puller = self._puller, None
            await puller.close()
            await self._drop_consumer(self._consumer)

    async def _begin(self) -> None:
        last = await self._last_seq()
        if last < self._position:
            raise Corrupt(
                f"stream {self._stream} ends at {last}, this reader was at {self._position} already: "
                "the log lost events or was made anew. Restore it before anything is decided on it"
            )
        self._consumer = await self._make_consumer(self._position)
        self._puller, self._delivered = Puller(self._client, self._stream, self._consumer), 0
