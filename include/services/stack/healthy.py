"""Whether a service of the stack answers: the health checks of the containers.

    python -m include.services.stack.healthy URL [NAME]

Asks as a client does. With NAME, the answer is Airflow's /monitor/health, and the component of that name must be
healthy. HEALTH_USER and HEALTH_PASSWORD name the variables that hold a login, where one is needed.
"""

import base64
import json
import os
import sys
from urllib.error import URLError
from urllib.request import Request, urlopen

TIMEOUT = 4  # seconds


def main(url: str, component: str | None = None) -> str | None:
    """:return: what is wrong, None if nothing is."""
    request = Request(url)  # noqa: S310  an address of the compose file
    if user := os.environ.get(os.environ.get("HEALTH_USER", "")):
        login = f"{user}:{os.environ[os.environ['HEALTH_PASSWORD']]}"
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            if component is None:
                return None
            status = json.load(answer)[component]["status"]
            return None if status == "healthy" else f"{component} is {status}"
    except (URLError, OSError, ValueError, KeyError) as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
