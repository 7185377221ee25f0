"""What the windows of a view need of events: which columns, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featurestore.registry.aggregations import Window
    from featurestore.registry.definitions import FeatureView


def columns_read(view: FeatureView) -> set[str]:
    """The columns that the view's aggregations look at: of its source, or of its transform's output."""
    needed: set[str] = set()
    for aggregation in view.aggregations:
        needed |= {c for c in (aggregation.column, aggregation.order_by, aggregation.by) if c is not None}
        needed |= set(aggregation.where.polars().meta.root_names()) if aggregation.where else set()
    return needed


def reach(view: FeatureView) -> int | None:
    """How long before an instant an event can still be in one of the view's windows, in microseconds; None: for ever.

    >>> from featurestore import Aggregation, Entity, FeatureView, tumbling, types as t
    >>> plane = Entity("plane", join_keys={"tailnum": t.String})
    >>> view = FeatureView("v", entities=[plane], source="s", aggregations=[
    ...     Aggregation(None, "count", windows=["1h"], delay="30m"), Aggregation(None, "count", windows=[tumbling("2h")])])
    >>> reach(view) == 4 * 3_600_000_000
    True
    """
    longest = 0
    for aggregation in view.aggregations:
        for window in aggregation.windows:
            if window.kind == "lifetime":
                return None
            longest = max(longest, aggregation.delay + _reach_of(window))
    return longest


def _reach_of(window: Window) -> int:
    if window.kind == "sawtooth":
        return window.width + window.hop
    # The last complete window may have ended nearly its width ago.
    return 2 * window.width if window.kind == "tumbling" else window.width
