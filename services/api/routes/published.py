"""What roost publishes about itself, open to all: the page of errors, and the schema of each message."""

import json
from html import escape

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from events.codes import CATALOGUE, Code
from events.schema import schemas
from services.api.core.problems import Problem

router = APIRouter(include_in_schema=False)

_SCHEMAS = {name.removesuffix(".json"): json.dumps(schema).encode() for name, schema in schemas().items()}
"""Made once: where an event's `dataschema` points."""


def _errors_page() -> str:
    """Write the catalogue as a page; a problem's `type` names one of its anchors."""
    sections = "".join(
        f'<h2 id="{code}"><code>{code}</code>: {escape(entry.title)}</h2>'
        f"<p>HTTP status {entry.status}</p><p>{escape(entry.detail)}</p>"
        f"<p><b>Try:</b> {escape(entry.hint)}</p>"
        for code, entry in CATALOGUE.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>roost: errors</title>'
        "<style>body{font:16px/1.5 system-ui;max-width:46rem;margin:2rem auto;padding:0 1rem}</style>"
        f"<h1>Errors</h1><p>Each word in braces is filled with the fact of the case.</p>{sections}</html>"
    )


_ERRORS = _errors_page()


@router.get("/docs/errors", operation_id="errors_page")
async def errors_page() -> HTMLResponse:
    """Explain every code."""
    return HTMLResponse(_ERRORS)


@router.get("/schemas/{name}.json", operation_id="schema")
async def schema(name: str) -> Response:
    """Give the JSON Schema of one type and version: `vm.placed.v1`."""
    if name not in _SCHEMAS:
        raise Problem(Code.NO_SUCH_ROUTE, {"path": f"/schemas/{name}.json"})
    return Response(_SCHEMAS[name], media_type="application/schema+json")
