"""Say what Prefect's settings are: python settings.py <directories.json

Standard input is an array of objects with a directory and the environment there. Standard output
is an object of settings for each, or null where Prefect refuses them.
"""

import json
import os
import sys
import warnings

# What Prefect imports is the same everywhere. Prefect itself looks around as it is imported.
import cachetools  # noqa: F401
import fastapi  # noqa: F401
import httpx  # noqa: F401
import pydantic_settings  # noqa: F401
import sqlalchemy.ext.asyncio  # noqa: F401
import websockets  # noqa: F401


def settings():
    from prefect.context import get_settings_context

    context = get_settings_context()
    s = context.settings
    return {
        "url": (s.api.url or "").rstrip("/"),
        "auth_string": s.api.auth_string.get_secret_value() if s.api.auth_string else "",
        "headers": s.client.custom_headers,
        "retries": s.client.max_retries,
        "codes": sorted(s.client.retry_extra_codes),
        "pool": s.deployments.default_work_pool_name or "",
        "profile": context.profile.name,
    }


for place in json.load(sys.stdin):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        warnings.simplefilter("ignore")
        os.environ.clear()
        os.environ.update(place["environment"])
        os.chdir(place["directory"])
        try:
            said = settings()
        except Exception:
            said = None
        print(json.dumps(said), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
