"""The documentation page: one file without anything from elsewhere, so that it works behind every firewall."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import HTMLResponse

router = APIRouter()


@cache
def _page() -> str:
    return (files("featurestore.api") / "pages" / "docs.html").read_text("utf-8")


@router.get("/docs", include_in_schema=False)
async def page() -> HTMLResponse:
    """The page that reads ``/openapi.json`` and lets a person try the routes."""
    return HTMLResponse(_page())
