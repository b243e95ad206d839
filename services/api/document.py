"""Describe the API: OpenAPI, with problems shown as what they are."""

from typing import Any

from fastapi import FastAPI

from services.api.errors import PROBLEM_JSON

FIRST_ERROR = 400


def described(app: FastAPI) -> None:
    """Make *app* describe its problems as what they are; the framework takes all answers for plain JSON."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        return _with_problems(plain())

    app.openapi = openapi  # type: ignore[method-assign]  # the framework's documented way


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                content = response.get("content", {})
                schema = content.get("application/json", {}).get("schema", {})
                if int(status) >= FIRST_ERROR and schema.get("$ref", "").endswith("/ProblemAnswer"):
                    content[PROBLEM_JSON] = content.pop("application/json")
    return document
