"""Makes bundles with Prefect, each of them twice: for Prefect's own executor and for flowship's.

    python prefect_flows.py DIRECTORY CASE...

Writes, for each case, the ids of its two flow runs, a space and the name of the case; the documents
are DIRECTORY/<id>.json.
"""

import asyncio
import json
import os
import signal
import sys
import time

from prefect import flow, get_run_logger, task
from prefect.blocks.core import Block
from prefect.bundles import create_bundle_for_flow_run
from prefect.client.orchestration import get_client
from prefect.filesystems import LocalFileSystem
from prefect.settings import PREFECT_TASKS_DEFAULT_RETRIES, temporary_settings
from prefect.states import Pending

SETTING = "PREFECT_TASKS_DEFAULT_RETRIES"


@flow(persist_result=True, result_serializer="json")
def json_result(x: int = 1):
    return {"x": x, "cwd": os.path.basename(os.getcwd())[:0]}


@flow(persist_result=True)
def pickle_result(x: int = 1):
    return (x, {"a": [1.5, None]})


@flow
def no_persistence(x: int = 1):
    return x


@flow(log_prints=True)
async def coroutine(x: int = 1):
    await asyncio.sleep(0)
    print("printed", x)
    return x


@flow
def generator(x: int = 1):
    get_run_logger().info("first")
    yield x
    get_run_logger().info("second")
    yield x + 1


@flow
async def async_generator(x: int = 1):
    yield x


@flow
def failed(x: int = 1):
    raise ValueError("no such dataset: %d" % x)


@flow
def exits(x: int = 1):
    sys.exit(3)


@flow
def dies(x: int = 1):
    os._exit(7)


@flow
def vanishes(x: int = 1):
    os._exit(0)


@flow
def is_killed(x: int = 1):
    os.kill(os.getpid(), signal.SIGKILL)


@flow
def is_terminated(x: int = 1):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)


@flow
def interrupted(x: int = 1):
    raise KeyboardInterrupt


class Unpicklable:
    def __reduce__(self):
        return (explode, ())


def explode():
    raise RuntimeError("it cannot be unpickled")


thing = Unpicklable()


@flow
def unpicklable(x: int = 1):
    return thing


attempts = []


@flow(retries=1, retry_delay_seconds=0)
def retried(x: int = 1):
    attempts.append(x)
    if len(attempts) < 2:
        raise ValueError("not yet")
    return len(attempts)


@task
def double(x):
    return 2 * x


@flow
def inner(x):
    return double(x) + 1


@flow(log_prints=True)
def outer(x: int = 1):
    print("doubled", inner(x), double.map([1, 2]).result())
    return inner(x)


def hook(flow, flow_run, state):
    get_run_logger_for(flow_run, flow).info("hook for %s: %s" % (state.type.value, state.name))


def get_run_logger_for(flow_run, flow):
    from prefect.logging.loggers import flow_run_logger

    return flow_run_logger(flow_run, flow)


async def async_hook(flow, flow_run, state):
    hook(flow, flow_run, state)


def bad_hook(flow, flow_run, state):
    raise ValueError("a bad hook")


@flow(on_completion=[hook])
def hook_completion(x: int = 1):
    return x


@flow(on_failure=[hook, bad_hook])
def hook_failure(x: int = 1):
    raise ValueError("failed")


@flow(on_crashed=[hook, async_hook, bad_hook])
def hook_crashed(x: int = 1):
    os._exit(7)


@flow(on_crashed=[hook])
def hook_raised(x: int = 1):
    sys.exit(3)


def wait():
    open("ready", "w").close()
    time.sleep(60)


@flow
def cancelled(x: int = 1):
    wait()


@flow(on_cancellation=[hook, async_hook])
def hook_cancelled(x: int = 1):
    wait()


@flow(on_cancellation=[hook], on_crashed=[hook])
async def coroutine_cancelled(x: int = 1):
    open("ready", "w").close()
    await asyncio.sleep(60)


@flow(log_prints=True)
def environment(x: int = 1):
    from prefect.settings import get_current_settings

    print("retries", get_current_settings().tasks.default_retries, os.environ.get(SETTING))
    names = sorted(n for n in os.environ if n.startswith(("PREFECT_", "FLOWSHIP_")))
    print(names, os.environ["PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS"])
    print([os.path.basename(a) for a in sys.argv[:2]], sys.path[0] == os.getcwd())


@flow(persist_result=True, result_storage="local-file-system/flowship-test", result_serializer="json")
def block_result(x: int = 1):
    return ["stored", x]


@flow
def misfit(x: int = 1):
    return x


CASES = {name: f for name, f in list(globals().items()) if type(f).__name__ == "Flow"}


def main(directory, *names):
    LocalFileSystem(basepath=directory).save("flowship-test", overwrite=True)
    with get_client(sync_client=True) as client:
        for name in names:
            ids = []
            for _ in range(2):
                parameters = {"x": "seven"} if name == "misfit" else {"x": 7}
                run = client.create_flow_run(CASES[name], parameters=parameters, state=Pending())
                CASES[name].launcher = ["flowship"]
                if name == "environment":
                    with temporary_settings({PREFECT_TASKS_DEFAULT_RETRIES: 5}):
                        bundle = create_bundle_for_flow_run(CASES[name], run)["bundle"]
                else:
                    bundle = create_bundle_for_flow_run(CASES[name], run)["bundle"]
                with open(os.path.join(directory, "%s.json" % run.id), "w") as f:
                    json.dump(bundle, f)
                ids.append(str(run.id))
            print(*ids, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
