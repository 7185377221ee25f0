"""Feast's retrieval job over a computation of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata

from featurestore.feast.stores.file_sources import overwrite


class ColumnarRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """Runs when its result is asked for; keeps it, so that asking twice computes once.

    Args:
        compute: gives the result without on-demand features.
    """

    def __init__(
        self,
        config: Any,
        compute: Callable[[], pa.Table],
        *,
        on_demand: Sequence[Any] = (),
        full_feature_names: bool = False,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._config = config
        self._compute = compute
        self._on_demand = list(on_demand)
        self._full_feature_names = full_feature_names
        self._metadata = metadata
        self._table: pa.Table | None = None

    def to_df(self, validation_reference: Any = None, timeout: int | None = None) -> Any:
        """The result as a pandas frame. Integers beside nulls are pandas' nullable ones: no value goes through a float."""
        return to_pandas(self.to_arrow(validation_reference=validation_reference, timeout=timeout))

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        if self._table is None:
            self._table = self._compute()
        return self._table

    def _to_df_internal(self, timeout: int | None = None) -> Any:
        return to_pandas(self._to_arrow_internal(timeout))

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named ``view__feature``."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[Any]:
        """The on-demand views that Feast computes on the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result, on-demand features included, to a saved dataset's place."""
        overwrite(self._config, storage.to_data_source(), self.to_arrow(timeout=timeout), allow=allow_overwrite)


def to_pandas(table: pa.Table) -> Any:
    """A pandas frame with every value as it is."""
    import pandas as pd

    frame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_integer(field.type) and table.column(field.name).null_count:
            name = str(field.type).replace("uint", "UInt").replace("int", "Int")
            nullable = getattr(pd, f"{name}Dtype")()
            frame[field.name] = table.column(field.name).to_pandas(types_mapper=lambda _, found=nullable: found)
    return frame
