"""Views as functions of a cuDF frame; where there is no GPU, of a pandas one, which has the same methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from featurestore.errors import ConfigError, TransformError
from featurestore.time import ARRIVAL_TIME
from featurestore.transforms.engines import choose
from featurestore.transforms.events import HIDDEN

if TYPE_CHECKING:
    from featurestore.registry.definitions import FeatureView


def run_cudf(view: FeatureView, events: pl.LazyFrame, engine: str) -> tuple[pl.LazyFrame, bool, bool]:
    """The rows of a view's function: never row-wise, for it cannot be seen into; the arrival is known only if it says it.

    Rows that keep their index keep the hidden columns for the order of ties.
    """
    transform: Any = view.transform
    table = events.collect(engine="streaming").to_arrow()
    on_gpu = choose(engine).name == "gpu"
    result = transform(_to_cudf(table) if on_gpu else _to_pandas(table))
    if not hasattr(result, "columns") or not hasattr(result, "reset_index"):
        raise TransformError(view.name, f"its function returned {type(result).__name__}", hint="return the frame that it made")
    known = ARRIVAL_TIME in result.columns
    index = (result.index.to_pandas() if on_gpu else result.index).to_numpy()
    output = result.reset_index(drop=True)
    arrow = output.to_arrow(preserve_index=False) if on_gpu else pa.Table.from_pandas(output, preserve_index=False)
    frame = pl.DataFrame(arrow)
    if index.dtype.kind == "i" and len(set(index.tolist())) == len(index) and (not len(index) or index.max() < table.num_rows):
        hidden = pl.DataFrame(table.select([name for name in HIDDEN if name not in frame.columns]))
        frame = frame.with_columns(hidden[index.tolist()].get_columns())
    return frame.lazy(), False, known


def _to_pandas(table: pa.Table) -> Any:
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise ConfigError(
            "a view of mode cudf needs cuDF, or pandas where there is no GPU", hint="pip install 'featurestore[pandas]'"
        ) from None
    # Nullable Arrow types: NumPy's would turn integers with nulls into floats.
    return table.to_pandas(types_mapper=_arrow_dtype)


def _arrow_dtype(arrow: pa.DataType) -> Any:
    import pandas as pd

    return pd.ArrowDtype(arrow)


def _to_cudf(table: pa.Table) -> Any:
    import cudf

    return cudf.DataFrame.from_arrow(table)
