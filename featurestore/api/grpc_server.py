"""Feast's gRPC service ``feast.serving.ServingService`` for its Java and Go clients, in the processes that answer HTTP.

It shares their event loop, their reader and their connections to the online store. grpcio is an extra: it is imported where an
address to serve at is given.
"""

from __future__ import annotations

import hmac
import importlib.util
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from featurestore import __version__
from featurestore.api.errors import HttpError, status_of
from featurestore.errors import ConfigError, FeatureStoreError
from featurestore.feast.serving_messages import SERVICE, read_request, write_columns, write_given, write_info, write_response

if TYPE_CHECKING:
    from featurestore.api.feast_online import FeastOnline
    from featurestore.api.service import Service
    from featurestore.registry.records import Field

_HEALTH: Final = "grpc.health.v1.Health"
_SERVING: Final = b"\x08\x01"
_GRACE_SECONDS: Final = 30
_CODES: Final = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 409: "FAILED_PRECONDITION", 422: "INVALID_ARGUMENT",
    503: "UNAVAILABLE",
}  # fmt: skip
log = logging.getLogger("featurestore.api")
Answer = Callable[[bytes], Awaitable[bytes]]


class ServingService:
    """The methods, over bytes.

    Args:
        service: whose settings hold, and whose metrics count.
        online: what answers.
    """

    def __init__(self, service: Service, online: FeastOnline) -> None:
        self._token = service.store.config.server.token.encode()
        self._online = online
        self._metrics = service.metrics

    async def GetFeastServingInfo(self, _: bytes) -> bytes:  # noqa: N802 - as Feast calls it
        """The version of this store."""
        return write_info(f"featurestore {__version__}")

    async def GetOnlineFeatures(self, raw: bytes) -> bytes:  # noqa: N802 - as Feast calls it
        """Join keys first, then features in the order asked for.

        Raises:
            RequestError: what is wrong with the request.
        """
        asked = read_request(raw)
        answer = await self._online.look_up(
            asked.feature_service,
            asked.features,
            asked.columns,
            full_feature_names=asked.full_feature_names,
            decode=_as_sent,
        )
        given = [write_given(asked.sent[name], answer.count) for name in answer.keys]
        return write_response([*answer.keys, *answer.names], given + write_columns(answer.columns))

    def handler(self, method: Answer) -> Callable[[bytes, Any], Awaitable[bytes]]:
        """A method for gRPC: the caller's token checked, errors as status codes, calls counted beside those of HTTP."""
        route = f"/{SERVICE}/{method.__name__}"

        async def handle(raw: bytes, context: Any) -> bytes:
            started, status = perf_counter(), 500
            try:
                self._check_token(context)
                answer = await method(raw)
                status = 200
            except Exception as error:
                status, code, details = _explained(error)
                await _abort(context, code, details)
                raise
            else:
                return answer
            finally:
                self._metrics.count_request("GRPC", route, status, perf_counter() - started)

        return handle

    def _check_token(self, context: Any) -> None:
        if not self._token:
            return
        sent = dict(context.invocation_metadata() or ()).get("authorization", "")
        scheme, _, token = sent.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode("latin-1"), self._token):
            raise HttpError(
                401,
                "unauthorized",
                "the bearer token is wrong" if sent else "the call has no bearer token",
                hint='send the metadata "authorization: Bearer ...", with the token of [server] in featurestore.toml',
            )


@asynccontextmanager
async def serving_grpc(service: Service, online: FeastOnline, address: str | None) -> AsyncIterator[None]:
    """Answer gRPC at ``address`` while the context is open; nowhere where it is None. Several processes share an address.

    Raises:
        ConfigError: grpcio is not installed, or the address cannot be listened at.
    """
    if address is None:
        yield
        return
    import grpc
    import grpc.aio

    limit = service.store.config.server.max_request_bytes
    options = [("grpc.so_reuseport", 1), ("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", -1)]
    methods = ServingService(service, online)
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers(
        (
            _handlers(
                SERVICE,
                GetFeastServingInfo=methods.handler(methods.GetFeastServingInfo),
                GetOnlineFeatures=methods.handler(methods.GetOnlineFeatures),
            ),
            _handlers(_HEALTH, Check=_healthy),
        )
    )
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError(f"gRPC cannot listen at {address}: {error}", hint="give another --grpc-port") from None
    await server.start()
    try:
        yield
    finally:
        await server.stop(_GRACE_SECONDS)


def grpc_address(host: str, port: int) -> str:
    """Where to listen, once it is known that it can be done.

    Raises:
        ConfigError: grpcio is not installed, or the port is taken.
    """
    if importlib.util.find_spec("grpc") is None:
        raise ConfigError("grpcio is not installed", hint="pip install 'featurestore[grpc]', or leave --grpc-port out")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"gRPC cannot listen at {host}:{port}: {error}", hint="give another --grpc-port") from None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _handlers(name: str, **methods: Callable[[bytes, Any], Awaitable[bytes]]) -> Any:
    import grpc

    # Without serializers gRPC hands over the bytes as they are.
    unary = {method: grpc.unary_unary_rpc_method_handler(handle) for method, handle in methods.items()}
    return grpc.method_handlers_generic_handler(name, unary)


async def _healthy(_: bytes, __: Any) -> bytes:
    return _SERVING


async def _abort(context: Any, code: str, details: str) -> None:
    import grpc

    await context.abort(getattr(grpc.StatusCode, code), details)


def _explained(error: Exception) -> tuple[int, str, str]:
    """The status of an error in HTTP and in gRPC, and its text; the text of what nobody raised on purpose stays in the log."""
    if not isinstance(error, FeatureStoreError):
        log.error("unexpected error", exc_info=error)
        return 500, "INTERNAL", "the service failed on this call; its log has the traceback"
    status = status_of(error)
    if status >= 500:
        log.error("%s: %s", error.code, error)
    return status, _CODES.get(status, "INTERNAL"), str(error)


def _as_sent(values: list[Any], _: Field) -> list[Any]:
    return values
