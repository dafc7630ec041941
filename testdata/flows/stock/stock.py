"""A flow that Prefect's own client submits to a work pool: stock.py POOL LAUNCHER PARAMETERS...

Every run is a line of JSON when it is submitted, and another one when it has ended.
"""

import json
import os
import sys
import time
from pathlib import Path

from prefect import flow
from prefect.flows import bind_flow_to_infrastructure
from prefect.workers.process import ProcessWorker


@flow
def add_up(fail: bool = False, seconds: float = 0):
    numbers = [int(n) for n in Path("data/numbers").read_text().split()]
    if fail:
        raise ValueError("as asked")
    time.sleep(seconds)
    return {"sum": sum(numbers), "script": os.access("data/script.sh", os.X_OK)}


def tell(**what):
    print(json.dumps(what), flush=True)


def main(pool, launcher, *parameters):
    bound = bind_flow_to_infrastructure(
        add_up,
        work_pool=pool,
        worker_cls=ProcessWorker,
        launcher=[launcher],
        include_files=["data/"],
    )
    futures = []
    for text in parameters:
        futures.append(bound.submit_to_work_pool(**json.loads(text)))
        tell(submitted=str(futures[-1].flow_run_id))
    for future in futures:
        future.wait(timeout=150)
        result = None
        if future.state.is_completed() or future.state.is_failed():
            result = future.result(raise_on_failure=False)
        if isinstance(result, Exception):
            result = repr(result)
        tell(ended=str(future.flow_run_id), type=future.state.type.value, message=future.state.message, result=result)


if __name__ == "__main__":
    main(*sys.argv[1:])
