"""What supervisors ask without a token: does it live, is it ready, what is it."""

import asyncio

import structlog
from fastapi import APIRouter, Response

from infra.runtime.errors import Unavailable
from services.api.core.bodies import LiveBody, ReadyBody, VersionBody
from services.api.parts import PartsNeeded, Probe

PROBE_TIMEOUT_S = 2.0

router = APIRouter(tags=["System"])


@router.get("/livez", operation_id="live")
async def live() -> LiveBody:
    """Say that the process answers."""
    return LiveBody()


@router.get(
    "/readyz", operation_id="ready", responses={503: {"model": ReadyBody, "description": "Not ready."}}
)
async def ready(parts: PartsNeeded, response: Response, verbose: str | None = None) -> ReadyBody:
    """Say whether everything needed answers; `?verbose` says which part does not, and why."""
    answers = await asyncio.gather(*(_answer(probe) for probe in parts.probes.values()))
    report = dict(zip(parts.probes, answers, strict=True))
    fine = all(answer == "ok" for answer in answers)
    response.status_code = 200 if fine else 503
    return ReadyBody(ready=fine, parts=None if verbose is None else report)


@router.get("/version", operation_id="version")
async def version(parts: PartsNeeded) -> VersionBody:
    """Say what answers here."""
    return VersionBody(version=parts.version)


async def _answer(probe: Probe) -> str:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await probe()
    except Unavailable as err:
        return err.why
    except TimeoutError:
        return f"no answer within {PROBE_TIMEOUT_S:g} s"
    except Exception as err:  # noqa: BLE001 - whoever asks what is wrong must be told of this, too
        structlog.get_logger().exception("probe_failed")
        return f"{type(err).__name__}: {err}"
    return "ok"
