"""Great Expectations itself: types that are not native, and its own verdicts from our metrics.

Its import takes seconds and hundreds of megabytes, so nothing here is loaded before such a type is used.

- :func:`evaluate` runs a type on pandas. Frames above ``ROW_LIMIT`` rows are judged on every k-th row, and the result's
  ``meta`` says so.
- :func:`validation_results` hands the metrics of our scan to Great Expectations' classes, which compute the verdict; what comes
  back are their own result objects, for Data Docs and for the parity tests.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from featurestore.errors import DefinitionError, did_you_mean
from featurestore.registry.records import Expectation
from featurestore.validation.checks import Check, Metrics, RowCheck
from featurestore.validation.columns import Columns
from featurestore.validation.judging import bind
from featurestore.validation.results import ExpectationResult, plain
from featurestore.validation.scan import Samples, compute, sample
from featurestore.validation.types import NATIVE_TYPES

ROW_LIMIT: Final = 1_000_000
_TYPE_FILES: Final = "expectations/core/*.py"


def check_expectation(expectation: Expectation) -> None:
    """Refuse a type that Great Expectations does not know, or kwargs that its class refuses.

    Raises:
        DefinitionError: that, or the type is not native and Great Expectations is not installed.
    """
    check_known([expectation])
    _domain_object(expectation)


def check_known(expectations: Iterable[Expectation]) -> None:
    """Refuse types that nobody knows, without the seconds that importing Great Expectations takes.

    Its own types are the files of one of its folders; those that a user's code registered exist once it is imported.

    Raises:
        DefinitionError: an unknown type, or Great Expectations is not installed.
    """
    spec = importlib.util.find_spec("great_expectations")
    for expectation in expectations:
        if spec is None:
            raise DefinitionError(
                f"{expectation.type} is not evaluated natively, and Great Expectations is not installed",
                hint=did_you_mean(expectation.type, NATIVE_TYPES) or "pip install 'featurestore[gx]'",
            )
        known = {path.stem for folder in spec.submodule_search_locations or () for path in Path(folder).glob(_TYPE_FILES)} - {
            "__init__"
        }
        if expectation.type not in known | _registered():
            raise DefinitionError(
                f"there is no expectation type {expectation.type!r}",
                hint=did_you_mean(expectation.type, known | {*NATIVE_TYPES}),
            )


def _registered() -> set[str]:
    """The types that Great Expectations knows once it is imported."""
    if "great_expectations.expectations.registry" not in sys.modules:
        return set()
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    return set(list_registered_expectation_implementations())


def evaluate(
    frame: pl.LazyFrame, expectations: Sequence[Expectation], *, row_limit: int = ROW_LIMIT
) -> list[ExpectationResult]:
    """Judge expectations with Great Expectations on pandas, in the order given.

    Args:
        frame: the rows; up to ``row_limit`` of them become a pandas frame, every k-th one where there are more.
        expectations: of any type that Great Expectations knows.
        row_limit: the most rows to judge.
    """
    rows = frame.select(pl.len()).collect(engine="streaming").item()
    every = max(1, -(-rows // row_limit))
    judged = frame.gather_every(every).collect()
    meta: dict[str, Any] = {"engine": "great_expectations"}
    if every > 1:
        meta |= {"judged_rows": judged.height, "of_rows": rows}
    return judge_batch(_batch(judged), expectations, meta)


def _batch(frame: pl.DataFrame) -> Any:
    import great_expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("frame").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("frame").get_batch({"dataframe": frame.to_pandas()})


def _domain_object(expectation: Expectation) -> Any:
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        return ExpectationConfiguration(type=expectation.type, kwargs=expectation.arguments).to_domain_obj()
    except (GreatExpectationsError, ValueError, TypeError) as error:  # pydantic's are ValueErrors
        raise DefinitionError(f"{expectation.type}: Great Expectations refuses it: {error}") from None


def judge_batch(batch: Any, expectations: Sequence[Expectation], meta: Mapping[str, Any]) -> list[ExpectationResult]:
    """One run of Great Expectations, which computes a metric that several expectations need once."""
    import great_expectations

    objects = [_domain_object(expectation) for expectation in expectations]
    for number, judged in enumerate(objects):
        judged.meta = {"number": number}  # results come in an order of their own
    suite = great_expectations.ExpectationSuite(name="suite", expectations=objects)
    found = {r.expectation_config.meta["number"]: r for r in batch.validate(suite, result_format="SUMMARY").results}
    return [_result(found[number], expectation, meta) for number, expectation in enumerate(expectations)]


def _result(found: Any, expectation: Expectation, meta: Mapping[str, Any]) -> ExpectationResult:
    exception = found.exception_info or {}
    if "raised_exception" not in exception:  # one entry a failed metric
        exception = next(iter(exception.values()), {})
    error = exception.get("exception_message") if exception.get("raised_exception") else None
    data = plain(found.to_json_dict()["result"])
    return ExpectationResult(expectation, bool(found.success), data, error, dict(meta))


_OBSERVED: Final[dict[str, Callable[[Metrics], Any]]] = {
    "column.max": lambda metrics: metrics["value"],
    "column.min": lambda metrics: metrics["value"],
    "column.mean": lambda metrics: metrics["mean"],
    "column.sum": lambda metrics: metrics["sum"],
    "column.standard_deviation": lambda metrics: (
        (metrics["squares"] / (metrics["count"] - 1)) ** 0.5 if metrics["count"] > 1 else None
    ),
    "column.distinct_values.count": lambda metrics: metrics["distinct"],
    "column.unique_proportion": lambda metrics: metrics["distinct"] / metrics["count"] if metrics["count"] else 0,
    "column.non_null_proportion": lambda metrics: metrics["present"] / metrics["rows"] if metrics["rows"] else 0,
    "column.distinct_values.not_in_set.count": lambda metrics: metrics["strangers"],
    "column.distinct_values.not_in_set": lambda metrics: metrics["shown"],
    "column.most_common_value": lambda metrics: metrics["shown"],
    "table.row_count": lambda metrics: metrics["rows"],
}


def validation_results(frame: pl.LazyFrame | pl.DataFrame, expectations: Sequence[Expectation]) -> list[Any]:
    """Great Expectations' own ``ExpectationValidationResult`` objects, from the metrics of one scan of ours.

    Args:
        frame: the rows.
        expectations: of native types whose metrics Great Expectations has too: all about rows, and those about one number.

    Raises:
        DefinitionError: an expectation cannot be judged on these columns, or its metrics are not Great Expectations' own.
    """
    lazy = frame.lazy()
    checks, errors = bind(expectations, Columns(lazy.collect_schema()))
    for number, expectation in enumerate(expectations):
        if number not in checks:
            raise DefinitionError(errors.get(number, f"{expectation.type} is not evaluated natively"))
    _, metrics = compute(lazy, checks)
    samples = sample(lazy, checks, metrics)
    return [_verdict(e, checks[n], metrics[n], samples.get(n, [])) for n, e in enumerate(expectations)]


def _verdict(expectation: Expectation, check: Check, metrics: Metrics, samples: Samples) -> Any:
    from great_expectations.execution_engine import PandasExecutionEngine

    configuration = {
        "result_format": {"result_format": "SUMMARY", "partial_unexpected_count": 20, "include_unexpected_rows": False}
    }
    engine, theirs = PandasExecutionEngine(), _domain_object(expectation)
    needed = theirs.get_validation_dependencies(execution_engine=engine, runtime_configuration=dict(configuration))
    computed = {
        metric.id: _metric(name, expectation, check, metrics, samples) for name, metric in needed.metric_configurations.items()
    }
    return theirs.metrics_validate(computed, runtime_configuration=dict(configuration), execution_engine=engine)


def _metric(name: str, expectation: Expectation, check: Check, metrics: Metrics, samples: Samples) -> Any:
    if isinstance(check, RowCheck):
        if name == "table.row_count":
            return metrics["rows"]
        if name == "column_values.nonnull.unexpected_count" and check.counts_missing:
            return metrics["rows"] - metrics["considered"]
        shown = check.verdict(metrics, samples)[1]
        by_suffix = {
            "unexpected_count": metrics["unexpected"],
            "filtered_row_count": metrics["considered"],
            "unexpected_values": [_hashable(value) for value in shown["partial_unexpected_list"]],
            "unexpected_index_list": shown["partial_unexpected_index_list"],
            "unexpected_index_query": None,
        }
        suffix = name.rpartition(".")[2]
        if suffix in by_suffix:
            return by_suffix[suffix]
    elif name in _OBSERVED:
        return _OBSERVED[name](metrics)
    raise DefinitionError(f"{expectation.type}: its metric {name!r} is not one of ours", hint="use evaluate()")


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
