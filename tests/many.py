"""Property tests that draw few examples, or as many as ``WINDOW_EXAMPLES`` asks for (``make test-many``)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

_ASKED: Final = int(os.environ.get("WINDOW_EXAMPLES", "0"))


def many(few: int, *, share: float = 1.0) -> Callable[[Any], Any]:
    """Mark a property test ``slow``; its examples are ``few``, or a share of those asked for.

    Args:
        share: below 1 where an example takes a second, because it needs a project on disk.
    """
    count = max(few, int(_ASKED * share))
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]

    def decorate(test: Any) -> Any:
        drawn = settings(max_examples=count, deadline=None, suppress_health_check=slow)(test)
        return pytest.mark.slow(pytest.mark.timeout(max(300, _ASKED))(drawn))

    return decorate
