"""Write the API's description down: `python -m services.api.openapi > docs/openapi.json`."""

import json
import sys

from infra.runtime.clock import SystemClock
from infra.runtime.ids import random_id
from services.api.app import make_app


def document() -> str:
    """Give the document as it is frozen; a change that shows here is a change of the API."""
    return json.dumps(make_app(random_id, SystemClock()).openapi(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
