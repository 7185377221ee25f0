"""The one place where errors become HTTP answers.

Every answer that is not 2xx has the same body: ``{"error": {"code", "message", "hint"}}``, with ``details`` where the error
carries data (the result of a validation, the file and row of a bad input). ``code`` is stable for machines.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from featurestore.errors import (
    ConfigError,
    DataTypeError,
    DefinitionError,
    FeatureStoreError,
    IngestionError,
    LakeError,
    NotFoundError,
    OnlineStoreError,
    OnlineStoreUnavailableError,
    RegistryError,
    RequestError,
    RetrievalError,
    TrainingSetError,
    TransformError,
    ValidationError,
)

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

log = logging.getLogger("featurestore.api")

STATUS: Final[dict[type[FeatureStoreError], int]] = {
    NotFoundError: 404,
    RegistryError: 409,
    RequestError: 422,
    DataTypeError: 422,
    IngestionError: 422,
    ValidationError: 422,
    RetrievalError: 422,
    TrainingSetError: 422,
    OnlineStoreUnavailableError: 503,
    LakeError: 503,
    # What the caller cannot mend is the service's fault, although its text says how the owner mends it.
    OnlineStoreError: 500,
    TransformError: 500,
    DefinitionError: 500,
    ConfigError: 500,
    FeatureStoreError: 500,
}
"""HTTP status by class of error; the nearest base class decides."""

_STARLETTE: Final = {
    404: ("no_such_route", "the routes are listed at /docs"),
    405: ("method_not_allowed", "the methods of each route are listed at /docs"),
}
RETRY_AFTER_SECONDS: Final = "1"


class HttpError(RequestError):
    """A request that is refused for what HTTP itself says: its size, its type, its credentials."""

    def __init__(
        self, status: int, code: str, message: str, *, hint: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.code = code
        self.headers = dict(headers or {})
        super().__init__(message, hint=hint)


def status_of(error: FeatureStoreError) -> int:
    """The HTTP status of an error.

    >>> status_of(NotFoundError("entity", "plain", ["plane"])), status_of(OnlineStoreUnavailableError("no answer"))
    (404, 503)
    """
    if isinstance(error, HttpError):
        return error.status
    error = _named(error)
    return next(STATUS[base] for base in type(error).__mro__ if base in STATUS)


def _named(error: FeatureStoreError) -> FeatureStoreError:
    """A room that looks a name up for a request may tell it as a bad request; what it was, a name not found, decides."""
    return error.__cause__ if type(error) is RequestError and isinstance(error.__cause__, NotFoundError) else error


def error_body(error: FeatureStoreError) -> dict[str, Any]:
    """The body of an error as data, the same for HTTP and for the command line's ``--json``."""
    error = _named(error)
    body: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    details = {name: value for name in ("result", "file", "row", "column", "location") if (value := getattr(error, name, None))}
    if details:
        body["details"] = details
    return {"error": body}


def answer(error: FeatureStoreError) -> Response:
    """The HTTP answer to an error. What is the service's own fault is logged, too."""
    status = status_of(error)
    if status >= 500:
        log.error("%s: %s", error.code, error)
    return _response(error, status)


def internal_answer(error: Exception) -> Response:
    """The answer to an error that nobody raised on purpose: its text stays in the log."""
    log.error("unexpected error", exc_info=error)
    return _response(_internal(), 500)


def _internal() -> HttpError:
    return HttpError(500, "internal_error", "the service failed on this request", hint="the server's log has the traceback")


def _response(error: FeatureStoreError, status: int) -> Response:
    headers = dict(error.headers) if isinstance(error, HttpError) else {}
    if status == 503:
        headers.setdefault("Retry-After", RETRY_AFTER_SECONDS)
    return Response(orjson.dumps(error_body(error), default=str), status, headers, "application/json")


@contextmanager
def definitions_hold() -> Iterator[None]:
    """Where the caller brings data or expectations, what does not go with the definitions is the caller's to mend.

    Elsewhere such an error means that the project itself is not in order.

    Raises:
        HttpError: 422, with the code and the text of the :class:`~featurestore.errors.DefinitionError`.
    """
    try:
        yield
    except DefinitionError as error:
        raise HttpError(422, error.code, error.message, hint=error.hint) from error


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of an app answer in the form of this module."""

    async def on_purpose(_: Request, error: Exception) -> Response:
        assert isinstance(error, FeatureStoreError)  # noqa: S101 - what it was registered for
        return answer(error)

    async def by_starlette(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it was registered for
        code, hint = _STARLETTE.get(error.status_code, ("invalid_request", "see /docs"))
        return answer(HttpError(error.status_code, code, str(error.detail), hint=hint, headers=error.headers))

    async def by_parameters(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - what it was registered for
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return answer(
            HttpError(422, "invalid_parameter", f"{where}: {first['msg']}", hint="the parameters are listed at /docs")
        )

    async def unexpected(_: Request, __: Exception) -> Response:
        return _response(_internal(), 500)  # Starlette raises it once more, for the server to log

    app.add_exception_handler(FeatureStoreError, on_purpose)
    app.add_exception_handler(HTTPException, by_starlette)
    app.add_exception_handler(RequestValidationError, by_parameters)
    app.add_exception_handler(Exception, unexpected)
