"""Validation of what the lake holds of a source or a view."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from featurestore.offline.inputs import Inputs, named_view
from featurestore.registry.records import make_expectations
from featurestore.time import ARRIVAL_TIME, BATCH, EVENT_TIME, SEQUENCE
from featurestore.validation.evaluation import evaluate

if TYPE_CHECKING:
    import polars as pl

    from featurestore.project import Project
    from featurestore.validation.results import ValidationReport


def validate(project: Project, name: str, expectations: Iterable[Any] | None = None) -> ValidationReport:
    """Evaluate expectations on all rows of a source or a view, and record the run. Nothing is rejected or moved.

    The rows of a view are computed for it: its table in the lake lacks those that went to quarantine.

    Args:
        name: of a source or a feature view.
        expectations: in place of its own.

    Raises:
        NotFoundError: neither a source nor a feature view has that name.
        RetrievalError: there are no rows yet.
    """
    inputs = Inputs.of(project)
    frame: pl.LazyFrame
    if name in inputs.definitions.sources:
        own = inputs.definitions.sources[name].expectations
        frame = project.lake.table("events", name).scan(inputs.pin(name))
    else:
        view = named_view(inputs.definitions, name)
        own = view.expectations
        event_time = inputs.definitions.source(view.source).event_time
        frame = inputs.all_rows(view).rename({EVENT_TIME: event_time})
    wanted = own if expectations is None else make_expectations(expectations, None)
    with project.catalog.start_run("validate", name, versions=inputs.pinned) as run:
        report = evaluate(frame.drop(ARRIVAL_TIME, SEQUENCE, BATCH, strict=False), wanted)
        run.update(validation=report.to_json_dict())
    return report
