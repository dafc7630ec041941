"""A flow for a team's Prefect server: what it gets, what it says and what it returns can all be looked up there."""

import os
import time
from pathlib import Path

from prefect import flow, get_run_logger, suspend_flow_run

from words import count


@flow
def tally(path: str = "data/words.txt", fail: bool = False, seconds: float = 0) -> dict:
    get_run_logger().info("counting the words of %s", path)
    if fail:
        raise ValueError("as asked")
    time.sleep(seconds)
    return {"words": count(Path(path).read_text())}


@flow
def told(names: list[str]):
    get_run_logger().info("the environment holds %s", ", ".join(os.environ[n] for n in names))


@flow
def suspended():
    suspend_flow_run(timeout=60)
