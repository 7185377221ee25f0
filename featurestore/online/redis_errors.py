"""The one place where Redis errors become ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import redis.exceptions as redis_exceptions

from featurestore.errors import OnlineStoreError, OnlineStoreUnavailableError

UNAVAILABLE = (
    redis_exceptions.ConnectionError,  # with BusyLoadingError and AuthenticationError below it
    redis_exceptions.TimeoutError,
    redis_exceptions.ClusterDownError,
    OSError,
)

_REPLIES = {"NOAUTH": redis_exceptions.AuthenticationError, "WRONGPASS": redis_exceptions.AuthenticationError}


def reply_error(text: str) -> Exception:
    """What an error that a server answers with is to redis-py, for readers of our own."""
    return _REPLIES.get(text.partition(" ")[0], redis_exceptions.ResponseError)(text)


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise our errors in place of Redis's. ``where`` names the store, without its password."""
    try:
        yield
    except redis_exceptions.AuthenticationError as error:
        raise OnlineStoreError(
            f"the online store at {where} refuses the login: {error}", hint="check user and password"
        ) from error
    except UNAVAILABLE as error:
        raise OnlineStoreUnavailableError(
            f"the online store at {where} does not answer: {error}", hint="is it running? see `featurestore doctor`"
        ) from error
    except redis_exceptions.RedisClusterException as error:
        raise OnlineStoreUnavailableError(
            f"the online store at {where} does not answer: {error}", hint="is it a cluster, and are all its slots served?"
        ) from error
    except redis_exceptions.RedisError as error:
        raise OnlineStoreError(f"the online store at {where} answers: {error}") from error
