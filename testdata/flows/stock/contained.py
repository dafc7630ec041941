"""A flow that Prefect's own decorator binds to containers: contained.py POOL IMAGE FOLDER INCLUDE CALLS...

A call is the way, and after a colon its parameters as JSON. As in Prefect's documentation, results are kept in a folder that
containers have at the same path. A call that has ended is a line of JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.filesystems import LocalFileSystem
from prefect_docker.decorators import docker


@flow(persist_result=True)
def add_up(fail: bool = False, files: bool = True, seconds: float = 0):
    get_run_logger().info("adding up")
    if fail:
        raise ValueError("as asked")
    time.sleep(seconds)
    numbers = [int(n) for n in Path("data/numbers").read_text().split()] if files else [1, 2]
    return {"sum": sum(numbers), "script": os.access("data/script.sh", os.X_OK)}


def main(pool, image, folder, include, *calls):
    storage = LocalFileSystem(basepath=folder)
    storage.save(pool, overwrite=True)
    bound = docker(
        work_pool=pool,
        include_files=include.split(),
        launcher=["flowship"],
        image=image,
        image_pull_policy="Never",
        auto_remove=False,
        volumes=[f"{folder}:{folder}"],
    )(add_up.with_options(result_storage=storage))
    for call in calls:
        way, _, parameters = call.partition(":")
        parameters = json.loads(parameters or "{}")
        if way == "call":
            state = bound(return_state=True, **parameters)
        else:
            future = getattr(bound, way)(**parameters)
            future.wait(timeout=150)
            state = future.state
        result = state.result(raise_on_failure=False) if state.is_completed() or state.is_failed() else None
        if isinstance(result, Exception):
            result = repr(result)
        about = {"id": str(state.state_details.flow_run_id), "type": state.type.value, "message": state.message}
        print(json.dumps({"way": way, "result": result, **about}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
