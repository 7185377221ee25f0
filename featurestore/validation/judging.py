"""From expectations to checks, and from metrics to results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featurestore.errors import DefinitionError
from featurestore.registry.records import Expectation
from featurestore.validation.checks import Check, Metrics, RowCheck
from featurestore.validation.columns import Columns
from featurestore.validation.results import ExpectationResult, plain
from featurestore.validation.scan import Checks, Samples
from featurestore.validation.types import NATIVE_TYPES


def bind(expectations: Sequence[Expectation], columns: Columns) -> tuple[dict[int, Check], dict[int, str]]:
    """The checks of the native expectations by their number, and why the others of them cannot be judged."""
    checks: dict[int, Check] = {}
    errors: dict[int, str] = {}
    for number, expectation in enumerate(expectations):
        native = NATIVE_TYPES.get(expectation.type)
        if native is None:
            continue
        try:
            checks[number] = native.check(expectation.arguments, columns)
        except DefinitionError as error:
            errors[number] = error.message
    return checks, errors


def foreign(expectations: Sequence[Expectation]) -> list[int]:
    """The numbers of the expectations that only Great Expectations can judge."""
    return [number for number, expectation in enumerate(expectations) if expectation.type not in NATIVE_TYPES]


def judge(
    expectations: Sequence[Expectation],
    checks: Checks,
    metrics: Mapping[int, Metrics],
    samples: Mapping[int, Samples],
) -> dict[int, ExpectationResult]:
    """The results by number."""
    judged = {}
    for number, check in checks.items():
        if isinstance(check, RowCheck):
            success, result = check.verdict(metrics[number], samples.get(number, []))
        else:
            success, result = check.verdict(metrics[number])
        judged[number] = ExpectationResult(expectations[number], bool(success), {k: plain(v) for k, v in result.items()})
    return judged
