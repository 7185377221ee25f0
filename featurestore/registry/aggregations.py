"""Windows and aggregations as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

from featurestore.registry.records import Expression, set_fields
from featurestore.time import format_duration, parse_duration

Duration: TypeAlias = str | timedelta | int
Bounds: TypeAlias = Literal["[)", "[]", "(]", "()"]
WindowKind: TypeAlias = Literal["sliding", "sawtooth", "tumbling", "lifetime"]

LIFETIME: Final = "lifetime"


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of time that an aggregation looks at, before its ``delay``. Durations in microseconds.

    ``width`` is 0 for ``lifetime``; ``hop`` is 0 except for ``sawtooth``.
    """

    kind: WindowKind
    width: int = 0
    hop: int = 0


def sliding(width: Duration) -> Window:
    """Exactly the last ``width``: the default kind."""
    return Window("sliding", parse_duration(width))


def sawtooth(width: Duration, hop: Duration | None = None) -> Window:
    """The last ``width``, its left edge floored to ``hop`` (5 min below 12 h, 1 h below 12 d, else 1 d)."""
    micros = parse_duration(width)
    if hop is None:
        hop = "5m" if micros < parse_duration("12h") else "1h" if micros < parse_duration("12d") else "1d"
    return Window("sawtooth", micros, parse_duration(hop))


def tumbling(width: Duration) -> Window:
    """The last complete window of ``width``, counted from the Unix epoch in UTC."""
    return Window("tumbling", parse_duration(width))


def lifetime() -> Window:
    """All events before the instant."""
    return Window("lifetime")


def _window(value: Any) -> Window:
    if isinstance(value, Window):
        return value
    return lifetime() if value == LIFETIME else sliding(value)


def _delay(value: Duration) -> int:
    """Microseconds; negative ones are kept, for the view's checks to name the view and the feature."""
    if isinstance(value, str) and value.strip().startswith("-"):
        return -parse_duration(value.strip()[1:])
    if isinstance(value, timedelta) and value < timedelta():
        return -parse_duration(-value)
    if isinstance(value, int) and value < 0:
        return value
    return parse_duration(value)


def _parameter(value: Any) -> str:
    """What JSON has no form for: durations as text that reads back, others by their own text."""
    if isinstance(value, timedelta) and value >= timedelta():
        return format_duration(parse_duration(value))
    return str(value)


@dataclass(frozen=True, slots=True, init=False)
class Aggregation:
    """One function of one column over windows.

    Args:
        column: the aggregated column; None counts rows.
        function: ``count``, ``sum``, ``mean``, ``min``, ``max``, ``last``, ...
        windows: ``"1d"``, or :func:`sliding`, :func:`sawtooth`, :func:`tumbling`, :func:`lifetime`; none means lifetime.
        where: a Polars expression; rows for which it is false or null are not there.
        bounds: which ends of the window are closed; ``"[)"`` leaves out an event at exactly the instant.
        delay: how long before the instant the window ends; a negative one would look ahead, and is refused by ``plan``.
        empty: the value of an empty window, where it is not the function's own (0 for counts, else null).
        name: the stem of the feature names, instead of ``{column}_{function}``.
        approx: a mergeable sketch in place of the exact answer: of ``count_distinct`` (HyperLogLog), ``quantile`` (t-digest),
            ``top_k`` and ``mode`` (frequent items). ``featurestore.registry.approximations`` states their errors.
        order_by: for ``first`` and ``last``: a column that orders before event time does.
        by: a column with a bounded set of values, one feature per value of ``values``.
        parameters: of the function: ``q`` (quantile), ``n`` (top_k, first_n, last_n), ``half_life`` (decayed),
            ``values`` (by), ``skip_nan``; with ``approx=True``: ``max_error``, the error to keep to.
    """

    column: str | None
    function: str
    windows: tuple[Window, ...]
    where: Expression | None
    bounds: Bounds
    delay: int
    empty: str | None
    name: str | None
    approx: bool
    order_by: str | None
    by: str | None
    parameters: str

    def __init__(
        self,
        column: str | None,
        function: str,
        *,
        windows: Sequence[Duration | Window] = (),
        where: Any = None,
        bounds: Bounds = "[)",
        delay: Duration = 0,
        empty: Any = None,
        name: str | None = None,
        approx: bool = False,
        order_by: str | None = None,
        by: str | None = None,
        **parameters: Any,
    ) -> None:
        set_fields(
            self,
            column=column,
            function=function,
            windows=tuple(_window(w) for w in windows) or (lifetime(),),
            where=where if where is None or isinstance(where, Expression) else Expression.of(where),
            bounds=bounds,
            delay=_delay(delay),
            empty=None if empty is None else json.dumps(empty),
            name=name,
            approx=approx,
            order_by=order_by,
            by=by,
            parameters=json.dumps(parameters, sort_keys=True, default=_parameter),
        )
