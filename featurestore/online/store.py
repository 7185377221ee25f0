"""What an online store must do: keep bytes by key, and move a packed row only forward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from featurestore.errors import ConfigError

if TYPE_CHECKING:
    from featurestore.config import Config
    from featurestore.online.packed_keys import PackedKeys


class OnlineStore(Protocol):
    """A key-value store of packed rows (:mod:`featurestore.codec`). Safe to share between threads.

    Every method raises ``OnlineStoreUnavailableError`` where the store does not answer, ``OnlineStoreError`` where it answers
    with an error.
    """

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, in their order, None where there is none; one round trip (in a cluster: one a node)."""

    async def aread(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As :meth:`read`; calls that run at the same time share one connection and do not wait for each other."""

    def read_soon(self, keys: PackedKeys, done: Callable[[Any], None]) -> bool:
        """Read keys without waiting, where the running event loop has a connection open; else False, and nothing is done.

        Args:
            done: called in the loop with what :meth:`read` returns, or with an exception in place of it.
        """

    def write(self, keys: Sequence[bytes], rows: Sequence[bytes], *, replace_equal: bool = False) -> int:
        """Write each packed row unless the store holds one of its key that is as new: how many were written.

        Newer is the greater ``(event_time, arrival_time, sequence)`` of the header. The comparison and the write are one
        atomic step, so that writers may run at the same time, in any order, again and again.

        Args:
            replace_equal: write rows that are exactly as new, too.
        """

    def add(self, keys: Sequence[bytes], rows: Sequence[bytes]) -> Sequence[int]:
        """Write packed rows of keys that the store does not hold: the places of those that were not written.

        Cheaper than :meth:`write`, which has to follow for the rest: also rows of new keys may be among it.

        Args:
            keys: no key twice.
        """

    def put(self, key: bytes, value: bytes) -> None:
        """Write one value, whatever was there."""

    def delete(self, keys: Sequence[bytes]) -> int:
        """Remove keys: how many there were."""

    def scan(self, prefix: bytes) -> Iterable[list[bytes]]:
        """The keys that begin with a prefix, in bounded batches; a key may come twice."""

    def ping(self) -> None:
        """Return if the store answers."""

    async def aclose(self) -> None:
        """Close what :meth:`aread` opened in this event loop; to be awaited before the loop ends."""

    def close(self) -> None:
        """Let go of connections, and of the embedded server."""


def delete_prefix(store: OnlineStore, prefix: bytes) -> int:
    """Remove every key that begins with a prefix, batch by batch: how many there were."""
    return sum(store.delete(keys) for keys in store.scan(prefix))


def open_online_store(config: Config) -> OnlineStore:
    """The online store of a project, by its URL. Connects, and starts the embedded server, on first use.

    Raises:
        ConfigError: no such kind of URL.
    """
    from featurestore.online.redis_cluster import ClusterOnlineStore
    from featurestore.online.redis_store import EmbeddedOnlineStore, RedisOnlineStore

    url, timeout = config.online.url, config.online.timeout_seconds
    if url == "embedded":
        return EmbeddedOnlineStore(config.state_folder / "online", timeout_seconds=timeout)
    scheme = url.partition("://")[0]
    if scheme in ("redis", "rediss", "unix"):
        return RedisOnlineStore(url, timeout_seconds=timeout)
    if scheme in ("redis+cluster", "rediss+cluster"):
        return ClusterOnlineStore(url, timeout_seconds=timeout)
    raise ConfigError(
        f"[online] url is {url!r}",
        hint='write "embedded", or a URL that starts with redis://, rediss://, unix:// or redis+cluster://',
    )
