"""What a validation found, in Great Expectations' result JSON and as text for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from featurestore.registry.records import Expectation

_NO_EXCEPTION: dict[str, Any] = {"raised_exception": False, "exception_traceback": None, "exception_message": None}


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """The verdict on one expectation.

    Args:
        expectation: the one that was judged.
        success: whether it holds.
        result: the observed numbers and samples, plain JSON data with Great Expectations' keys.
        error: why it could not be judged; then ``success`` is false and ``result`` empty.
        meta: how it was judged, such as the size of a sample.
    """

    expectation: Expectation
    success: bool
    result: dict[str, Any]
    error: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def to_json_dict(self) -> dict[str, Any]:
        """The form of Great Expectations' ``ExpectationValidationResult``; the policy stands in its ``meta``."""
        exception = dict(_NO_EXCEPTION)
        if self.error is not None:
            exception = {"raised_exception": True, "exception_traceback": None, "exception_message": self.error}
        return {
            "success": self.success,
            "expectation_config": {
                "type": self.expectation.type,
                "kwargs": self.expectation.arguments,
                "meta": {"policy": self.expectation.policy},
                "severity": self.expectation.severity,
            },
            "result": self.result,
            "meta": self.meta,
            "exception_info": exception,
        }

    @classmethod
    def from_json_dict(cls, data: Mapping[str, Any]) -> ExpectationResult:
        """What :meth:`to_json_dict` wrote."""
        config = data["expectation_config"]
        expectation = Expectation(
            config["type"],
            json.dumps(config["kwargs"], sort_keys=True, default=str),
            (config.get("meta") or {}).get("policy", "warn"),
            config.get("severity", "critical"),
        )
        error = data["exception_info"]["exception_message"]
        return cls(expectation, data["success"], dict(data["result"]), error, dict(data.get("meta") or {}))

    def __str__(self) -> str:
        mark = "ok  " if self.success else "FAIL"
        return f"{mark} {label(self.expectation)} ({self.expectation.policy}): {self._finding()}"

    def _finding(self) -> str:
        if self.error is not None:
            return f"could not be judged: {self.error}"
        if "unexpected_percent" in self.result:
            rows, failing = self.result["element_count"], self.result["unexpected_count"]
            text = f"{failing:,} of {rows:,} rows fail"
            shown = self.result.get("partial_unexpected_list") or []
            return f"{text}, such as {', '.join(str(value) for value in shown[:3])}" if shown else text
        if self.result.get("observed_value") is not None:
            return f"observed {self.result['observed_value']}"
        found = [
            f"{count:,} {word} values" for word in ("unexpected", "missing") if (count := self.result.get(f"{word}_count"))
        ]
        shown = [*self.result.get("partial_unexpected_list", []), *self.result.get("partial_missing_list", [])]
        if found:
            return f"{' and '.join(found)}, such as {', '.join(str(value) for value in shown[:3])}"
        return "as expected" if self.success else "nothing was observed"


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """The verdicts on one suite, in the order in which its expectations were written.

    ``meta`` holds the number of rows judged as ``row_count``.
    """

    results: tuple[ExpectationResult, ...]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def success(self) -> bool:
        """Whether every expectation holds, whatever its policy and severity."""
        return all(result.success for result in self.results)

    @property
    def rejected(self) -> tuple[ExpectationResult, ...]:
        """The failed expectations whose policy is ``reject``."""
        return tuple(r for r in self.results if not r.success and r.expectation.policy == "reject")

    @property
    def statistics(self) -> dict[str, Any]:
        """Counts of expectations, as Great Expectations counts them."""
        total = len(self.results)
        good = sum(result.success for result in self.results)
        return {
            "evaluated_expectations": total,
            "successful_expectations": good,
            "unsuccessful_expectations": total - good,
            "success_percent": good / total * 100 if total else None,
        }

    def to_json_dict(self) -> dict[str, Any]:
        """The form of Great Expectations' ``ExpectationSuiteValidationResult``: plain JSON data."""
        return {
            "success": self.success,
            "results": [result.to_json_dict() for result in self.results],
            "suite_parameters": {},
            "statistics": self.statistics,
            "meta": self.meta,
            "id": None,
        }

    @classmethod
    def from_json_dict(cls, data: Mapping[str, Any]) -> ValidationReport:
        """What :meth:`to_json_dict` wrote."""
        results = tuple(ExpectationResult.from_json_dict(result) for result in data["results"])
        return cls(results, dict(data.get("meta") or {}))

    def __str__(self) -> str:
        counts = self.statistics
        rows = f" on {self.meta['row_count']:,} rows" if "row_count" in self.meta else ""
        head = f"{counts['successful_expectations']} of {counts['evaluated_expectations']} expectations hold{rows}"
        failed_first = sorted(self.results, key=lambda result: result.success)
        return "\n".join([head, *(f"  {result}" for result in failed_first)])


def label(expectation: Expectation) -> str:
    """An expectation in a few words: its type and its columns.

    >>> label(Expectation("expect_column_values_to_not_be_null", '{"column": "price"}'))
    'expect_column_values_to_not_be_null(price)'
    """
    kwargs = expectation.arguments
    names = [kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs]
    names += [name for name in kwargs.get("column_list") or [] if isinstance(name, str)]
    return f"{expectation.type}({', '.join(map(str, names))})"


def plain(value: Any) -> Any:
    """A computed value as JSON data: instants in ISO 8601, NaN and infinities as null, bytes in hexadecimal."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return float(value)
        case bytes():
            return value.hex()
    # NumPy's scalars, in what Great Expectations reports.
    return plain(value.item()) if hasattr(value, "item") else str(value)
