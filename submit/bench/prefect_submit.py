"""What `flowship submit-to-work-pool` does, in Prefect's way: prefect_submit.py POOL LAUNCHER INCLUDED [wait]"""

import sys
from pathlib import Path

from prefect.flows import bind_flow_to_infrastructure
from prefect.workers.process import ProcessWorker

sys.path.insert(0, str(Path.cwd()))

if __name__ == "__main__":
    from flow import count

    pool, launcher, included, *wait = sys.argv[1:]
    bound = bind_flow_to_infrastructure(count, work_pool=pool, worker_cls=ProcessWorker, launcher=[launcher], include_files=[included])
    future = bound.submit_to_work_pool()
    print(future.flow_run_id)
    if wait:
        print(future.result())
