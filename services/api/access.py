"""Ask of each request who sends it and whether they may, before anything else of it is read.

Open to all on purpose are, beside what supervisors ask, the pages that say how roost is used and know nothing
of what runs on it: the errors, the schemas, and `/api/v1/openapi.json`.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from events.codes import Code
from services.api.core.problems import Problem
from services.api.core.rights import allows
from services.api.parts import parts_of

_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_described = HTTPBearer(auto_error=False, description="The token of `ROOST_ADMIN_TOKEN_FILE`.")
"""Only tells the API's description that a token is needed; `authorize` is what asks for it."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def authorize(request: Request, action: str) -> str:
    """Give the principal who may do *action*; raises Problem unauthenticated, forbidden."""
    scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
    if scheme.lower() != "bearer" or not token:
        why = "there is no bearer token in the Authorization header"
        raise Problem(Code.UNAUTHENTICATED, {"reason": why}, headers=_CHALLENGE)
    principal = parts_of(request).credentials.principal(token)
    if principal is None:
        raise Problem(Code.UNAUTHENTICATED, {"reason": "this token is not known"}, headers=_CHALLENGE)
    if not allows(principal, action):
        raise Problem(Code.FORBIDDEN, {"principal": principal, "action": action})
    return principal


class Guarded(APIRoute):
    """A route that nobody reaches unauthorized; the right to it is called as its operation."""

    def get_route_handler(self) -> Handler:
        """Put the question before the framework parses anything."""
        answer = super().get_route_handler()
        assert self.operation_id is not None, f"{self.path} has no operation_id"
        action = self.operation_id

        async def guarded(request: Request) -> Response:
            request.state.principal = authorize(request, action)
            return await answer(request)

        return guarded


def guarded_router(tag: str) -> APIRouter:
    """Make a router all of whose routes are guarded."""
    return APIRouter(tags=[tag], route_class=Guarded, dependencies=[Depends(_described)])
