"""Approximate forms of aggregate functions: which there are, how far off they may be, and how large their state is.

==============  ======================  ======================================================  ========================
function        sketch                  error                                                   exact up to
==============  ======================  ======================================================  ========================
count_distinct  HyperLogLog             relative standard error: ``1.04 / sqrt(2**size)``       256 distinct values
quantile        t-digest                rank, as a share of the values: ``10 / size``           ``size`` values
top_k, mode     frequent items          count, as a share of the values: ``3.5 / 2**size``      ``0.75 * 2**size``
                                                                                                distinct values
==============  ======================  ======================================================  ========================

The first is a standard error: two answers in three lie within it, 19 in 20 within twice that, 997 in 1,000 within thrice
(Flajolet et al., "HyperLogLog", 2007). The last is a bound that always holds (Anderson et al., "A high-performance algorithm
for identifying frequent items in data streams", 2017). The middle one is no theorem: a merge can misplace one centroid, about
``2 / size`` of the values, so that errors can grow with the number of merges one upon the other. Windows are merged as trees,
where errors cancel, and tests hold them to ``10 / size`` on streams made to be hard (Dunning, "The t-digest", 2021).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from featurestore.registry.aggregations import Aggregation

EXACT_DISTINCT: Final = 256
"""So many distinct values are kept themselves before they become a HyperLogLog sketch."""


@dataclass(frozen=True, slots=True)
class Approximation:
    """The approximate form of a function.

    Args:
        library: what has to be installed.
        measure: what its error is.
        default: the error that is asked for where ``max_error=`` is not given.
        least, most: errors that can be asked for.
        size_of: the least size that keeps an error.
        error_of: the error of a size.
        exact_up_to: how many values (``quantile``) or distinct values are still answered exactly by a size.
    """

    library: str
    measure: str
    default: float
    least: float
    most: float
    size_of: Callable[[float], int]
    error_of: Callable[[int], float]
    exact_up_to: Callable[[int], int]


_DISTINCT: Final = Approximation(
    library="datasketches",
    measure="relative standard error",
    default=0.02,
    least=0.003,
    most=0.1,
    size_of=lambda error: math.ceil(2 * math.log2(1.04 / error)),
    error_of=lambda size: 1.04 / math.sqrt(1 << size),
    exact_up_to=lambda _: EXACT_DISTINCT,
)
_QUANTILE: Final = Approximation(
    library="fastdigest",
    measure="error in rank, as a share of the values",
    default=0.01,
    least=0.0005,
    most=0.05,
    size_of=lambda error: math.ceil(10 / error),
    error_of=lambda size: 10 / size,
    exact_up_to=lambda size: size,
)
_FREQUENT: Final = Approximation(
    library="datasketches",
    measure="error in count, as a share of the values",
    default=0.005,
    least=0.0001,
    most=0.1,
    size_of=lambda error: math.ceil(math.log2(3.5 / error)),
    error_of=lambda size: 3.5 / (1 << size),
    exact_up_to=lambda size: 3 << (size - 2),
)
APPROXIMATIONS: Final[dict[str, Approximation]] = {
    "count_distinct": _DISTINCT,
    "mode": _FREQUENT,
    "quantile": _QUANTILE,
    "top_k": _FREQUENT,
}
"""By the name of the function."""


def sketch_size(function: str, max_error: float | None = None, n: int = 1) -> int:
    """The size of the sketch of a function: large enough for the error, and for eight times the ``n`` of a ``top_k``.

    >>> sketch_size("count_distinct"), sketch_size("quantile", 0.02), sketch_size("top_k", n=500)
    (12, 500, 12)
    """
    form = APPROXIMATIONS[function]
    size = form.size_of(form.default if max_error is None else max_error)
    return max(size, (8 * n - 1).bit_length()) if form is _FREQUENT else size


def error_bound(aggregation: Aggregation) -> float | None:
    """The error that an approximate aggregation keeps to, in the measure of its function; None where it is exact.

    Not more than the ``max_error`` asked for; often less, as sizes go in steps.

    >>> from featurestore import Aggregation
    >>> error_bound(Aggregation("user", "count_distinct", approx=True))
    0.01625
    >>> error_bound(Aggregation("delay", "quantile", q=0.9, approx=True, max_error=0.02))
    0.02
    >>> error_bound(Aggregation("delay", "quantile", q=0.9)) is None
    True
    """
    form = APPROXIMATIONS.get(aggregation.function)
    if form is None or not aggregation.approx:
        return None
    given: dict[str, Any] = json.loads(aggregation.parameters)
    return form.error_of(sketch_size(aggregation.function, given.get("max_error"), given.get("n", 1)))


@cache
def is_installed(library: str) -> bool:
    """Whether the library of a sketch can be imported."""
    return find_spec(library) is not None
