"""A flow that does nothing, called on a process work pool: Prefect's way of what `flowship run -- true` does."""

from prefect import flow
from prefect.flows import bind_flow_to_infrastructure
from prefect.workers.process import ProcessWorker


@flow
def nothing():
    pass


if __name__ == "__main__":
    state = bind_flow_to_infrastructure(nothing, work_pool="bench", worker_cls=ProcessWorker)(return_state=True)
    assert state.is_completed(), state
