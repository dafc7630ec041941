"""A flow that Prefect's own @kubernetes has run in pods: pods.py LAUNCHER POOL STOCK

POOL is a work pool that flowship's worker serves, STOCK one that Prefect's own worker serves. Every
run is a line of JSON: how it was called, its id and what it returned.
"""

import json
import os
import sys
from pathlib import Path

from prefect import flow
from prefect_kubernetes.decorators import kubernetes


def add_up():
    numbers = [int(n) for n in Path("data/numbers").read_text().split()]
    print("adding up", len(numbers), "numbers")
    return {"sum": sum(numbers), "script": os.access("data/script.sh", os.X_OK)}


def bound(pool, launcher, name):
    decorate = kubernetes(work_pool=pool, launcher=[launcher], include_files=["data/"], labels={"way": name})
    return decorate(flow(add_up, name=name, log_prints=True))


def main(launcher, pool, stock):
    futures = {
        "worker": bound(pool, launcher, "worker").submit_to_work_pool(),
        "stock-worker": bound(stock, launcher, "stock-worker").submit_to_work_pool(),
        "submitted": bound(pool, launcher, "submitted").submit(),
    }
    print(json.dumps({"way": "called", "result": bound(pool, launcher, "called")()}), flush=True)
    for way, future in futures.items():
        future.wait(timeout=240)
        result = future.result(raise_on_failure=False) if future.state.is_final() else None
        result = repr(result) if isinstance(result, Exception) else result
        told = {"way": way, "id": str(future.flow_run_id), "type": future.state.type.value, "result": result}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
