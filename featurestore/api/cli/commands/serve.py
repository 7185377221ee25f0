"""``featurestore serve``."""

from __future__ import annotations

from typing import Any

import click

from featurestore.api.cli.session import Session, global_options, pass_session


@click.command("serve")
@click.option("--host", help="Address to listen on (default: [server] host).")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on (default: [server] port).")
@click.option("--workers", type=click.IntRange(1), help="Processes (default: [server] workers).")
@click.option("--server", type=click.Choice(["uvicorn", "granian"]), default="uvicorn", show_default=True)
@click.option("--grpc-port", type=click.IntRange(1, 65535), help="Answer Feast's gRPC clients too, at this port.")
@global_options
@pass_session
def command(
    session: Session, host: str | None, port: int | None, workers: int | None, server: Any, grpc_port: int | None
) -> None:
    """Start the HTTP service; it is described at /docs. Ctrl-C or SIGTERM ends it gracefully."""
    from featurestore.api.server import serve
    from featurestore.config import load_config

    settings = load_config(session.repo).server
    where = f"http://{host or settings.host}:{port or settings.port}"
    if not settings.token:
        session.output.note(
            "No token is set: whoever reaches this address may read and write. See [server] in featurestore.toml."
        )
    session.output.note(f"Serving at {where}, documentation at {where}/docs")
    if grpc_port is not None:
        session.output.note(f"gRPC for Feast's clients at {host or settings.host}:{grpc_port}")
    serve(session.repo, host=host, port=port, workers=workers, server=server, grpc_port=grpc_port)
