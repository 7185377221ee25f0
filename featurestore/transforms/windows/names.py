"""How window features are called."""

from __future__ import annotations

from featurestore.registry.aggregations import Aggregation, Window
from featurestore.time import format_duration


def window_suffix(window: Window) -> str:
    """What a window adds to a feature's name; nothing for a lifetime.

    >>> from featurestore.registry.aggregations import lifetime, sawtooth, sliding, tumbling
    >>> window_suffix(sliding("7d")), window_suffix(sawtooth("7d")), window_suffix(tumbling("90m")), window_suffix(lifetime())
    ('_7d', '_7d_hop_1h', '_1h30m_tumbling', '')
    """
    match window.kind:
        case "lifetime":
            return ""
        case "sawtooth":
            return f"_{format_duration(window.width)}_hop_{format_duration(window.hop)}"
        case "tumbling":
            return f"_{format_duration(window.width)}_tumbling"
    return f"_{format_duration(window.width)}"


def stem(aggregation: Aggregation) -> str:
    """The front of an aggregation's feature names: ``name``, or else column (or ``by`` column) and function.

    >>> stem(Aggregation("arr_delay", "mean")), stem(Aggregation(None, "count")), stem(Aggregation(None, "count", by="carrier"))
    ('arr_delay_mean', 'count', 'carrier_count')
    """
    if aggregation.name:
        return aggregation.name
    column = aggregation.column or aggregation.by
    return f"{column}_{aggregation.function}" if column else aggregation.function


def feature_name(aggregation: Aggregation, window: Window, category: object = None) -> str:
    """The name of one feature: stem, category (of ``by=``), window.

    >>> from featurestore.registry.aggregations import sliding
    >>> feature_name(Aggregation(None, "count", by="carrier", values=["AA"]), sliding("1d"), "AA")
    'carrier_count_AA_1d'
    """
    part = "" if category is None else f"_{str(category).lower() if isinstance(category, bool) else category}"
    return f"{stem(aggregation)}{part}{window_suffix(window)}"
