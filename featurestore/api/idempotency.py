"""One idempotency key stands for one content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from featurestore.api.errors import HttpError
from featurestore.errors import RegistryError

if TYPE_CHECKING:
    from featurestore.registry.catalog import Catalog

KIND: Final = "idempotency_key"


@contextmanager
def claim(catalog: Catalog, key: str, digest: str) -> Iterator[None]:
    """Hold a key for one content. If the block fails the key is free again, so that a mended file may use it.

    What makes the write itself happen once is the lake, which records the key in the commit; this tells a caller who uses
    a key for two contents.

    Raises:
        HttpError: 409, the key was used with another content.
    """
    made = False
    try:
        catalog.write_state(KIND, key, {"digest": digest}, expected=None)
        made = True
    except RegistryError:
        found = catalog.read_state(KIND, key)
        if found is not None and found["digest"] != digest:
            raise HttpError(
                409,
                "idempotency_conflict",
                f"the idempotency key {key.partition('/')[2]!r} was used before, with another content",
                hint="take a new key for each content; the same key only to repeat a request",
            ) from None
    try:
        yield
    except BaseException:
        if made:
            catalog.delete_state(KIND, key)
        raise
