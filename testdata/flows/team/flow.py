"""A flow for a team's Prefect server: what it gets, what it says and what it returns can all be looked up there."""

import os
import signal
import time
from pathlib import Path

from prefect import flow, get_run_logger, suspend_flow_run
from prefect.logging.loggers import flow_run_logger

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
    print("said to the terminal")


@flow
def suspended():
    suspend_flow_run(timeout=60)


def cleared(flow, flow_run, state):
    flow_run_logger(flow_run, flow).info("cleared up, %s", state.name)


@flow(on_cancellation=[cleared], on_crashed=[cleared])
def guarded(killed: bool = False):
    get_run_logger().info("guarded")
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1000)
