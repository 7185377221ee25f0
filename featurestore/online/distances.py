"""Distances between vectors, and the nearest of the rows seen so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from featurestore.errors import RequestError

Metric: TypeAlias = Literal["l2", "l1", "cosine", "inner_product"]
Matrix: TypeAlias = np.ndarray[Any, Any]
_METRICS: Final[Mapping[str, Metric]] = {
    "l2": "l2", "l2_norm": "l2", "euclidean": "l2",
    "l1": "l1",
    "cosine": "cosine",
    "inner_product": "inner_product", "dot_product": "inner_product", "ip": "inner_product",
}  # fmt: skip
MOST: Final = 10_000
"""So many rows one search gives at most."""


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """What is searched for.

    Args:
        vector: finite numbers, as 64-bit floats.
        metric: smaller is nearer for each of them; of ``inner_product`` it is the negative product.
        top_k: how many rows.
    """

    vector: Matrix
    metric: Metric
    top_k: int

    @classmethod
    def of(cls, query: Sequence[float], metric: str, top_k: int) -> VectorQuery:
        """What a caller sent, checked.

        Args:
            metric: whatever Feast's stores call it, in any case.

        Raises:
            RequestError: no numbers, an unknown metric, ``top_k`` out of range, a vector of zeros that has no angle.
        """
        try:
            vector = np.array(query, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            vector = np.empty((0, 0))
        if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
            raise RequestError("the query is not a list of finite numbers", hint="send one vector, such as [0.1, 0.2, 0.3]")
        found = _METRICS.get(metric.lower())
        if found is None:
            raise RequestError(f"no such distance: {metric!r}", hint=f"one of {', '.join(_METRICS)}")
        if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= MOST:
            raise RequestError(f"top_k is {top_k!r}", hint=f"ask for 1 to {MOST:,} rows")
        if found == "cosine" and not vector.any():
            raise RequestError("the query has no element but zeros, so no angle to it", hint="ask by another distance")
        return cls(vector, found, top_k)

    def check_size(self, sizes: Collection[int], what: str) -> None:
        """Refuse vectors that are all of other sizes.

        Raises:
            RequestError: the query's size is none of these.
        """
        if self.vector.size not in sizes:
            found = ", ".join(map(str, sorted(sizes)))
            raise RequestError(
                f"the query has {self.vector.size} numbers, {what} has {found}", hint="embed both by the same model"
            )

    def distances(self, vectors: Matrix) -> Matrix:
        """Of each row of a matrix, as wide as the query; NaN where there is none.

        Row by row, never as a product of matrices: equal vectors have equal distances, wherever they stand.
        """
        numbers = vectors.astype(np.float64)
        with np.errstate(all="ignore"):
            found: Matrix = _FUNCTIONS[self.metric](numbers, self.vector)
        return found


def _l2(vectors: Matrix, query: Matrix) -> Any:
    return np.sqrt(np.square(vectors - query).sum(axis=1))


def _l1(vectors: Matrix, query: Matrix) -> Any:
    return np.abs(vectors - query).sum(axis=1)


def _negative_product(vectors: Matrix, query: Matrix) -> Any:
    return -(vectors * query).sum(axis=1)


def _cosine(vectors: Matrix, query: Matrix) -> Any:
    # Scaled first: squares of very large and very small numbers leave the range of floats.
    ours = vectors / np.abs(vectors).max(axis=1, keepdims=True)
    asked = query / np.abs(query).max()
    norms = np.sqrt(np.square(ours).sum(axis=1)) * np.sqrt(np.square(asked).sum())
    return 1.0 - (ours * asked).sum(axis=1) / norms


_FUNCTIONS: Final[Mapping[Metric, Callable[[Matrix, Matrix], Any]]] = {
    "l2": _l2,
    "l1": _l1,
    "cosine": _cosine,
    "inner_product": _negative_product,
}


class NearestRows:
    """The nearest rows of those that were added, ties in the order of their keys.

    Args:
        query: what they are near to.
    """

    def __init__(self, query: VectorQuery) -> None:
        self.query = query
        self._best: dict[bytes, float] = {}
        self._worst = math.inf
        self._others: set[int] = set()

    def add(self, keys: Sequence[bytes], vectors: Matrix) -> None:
        """Rows with their vectors. A key that comes twice counts once; vectors of another size are passed by."""
        if not keys:
            return
        if vectors.shape[1] != self.query.vector.size:
            self._others.add(vectors.shape[1])
            return
        distances = self.query.distances(vectors)
        for i in np.flatnonzero(distances <= self._worst).tolist():  # NaN is not
            self._best[keys[i]] = float(distances[i])
        if len(self._best) > self.query.top_k:
            self._best = dict(self.ranked())
            self._worst = max(self._best.values())

    def ranked(self) -> list[tuple[bytes, float]]:
        """Keys and distances, the nearest first."""
        return sorted(self._best.items(), key=lambda item: (item[1], item[0]))[: self.query.top_k]

    def check_found(self, what: str) -> None:
        """Nothing found because all vectors are of another size is no answer.

        Raises:
            RequestError: that is so.
        """
        if self._others and not self._best:
            self.query.check_size(self._others, what)
