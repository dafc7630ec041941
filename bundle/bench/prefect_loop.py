"""Times Prefect's own packing of a directory.

usage: prefect_loop.py DIR ROUNDS

Prints one JSON object: the seconds of each round, in total and by step, the number of files, and the key. A round is what
create_bundle_for_flow_run does with include_files=["."] and DIR as the base directory: collect, filter by .prefectignore,
look for sensitive names, build the zip. Importing Prefect is not counted.
"""

import json
import logging
import sys
import time
from pathlib import Path

from prefect.bundles._file_collector import FileCollector
from prefect.bundles._ignore_filter import IgnoreFilter, check_sensitive_files
from prefect.bundles._zip_builder import ZipBuilder

PATTERNS = ["."]


def pack(directory: str) -> dict:
    clock = [time.perf_counter()]
    base_dir = Path(directory).resolve()
    result = FileCollector(base_dir).collect(PATTERNS)
    clock.append(time.perf_counter())
    filtered = IgnoreFilter(base_dir).filter(result.files, explicit_patterns=PATTERNS)
    check_sensitive_files(filtered.included_files, base_dir)
    clock.append(time.perf_counter())
    builder = ZipBuilder(base_dir)
    try:
        built = builder.build(filtered.included_files)
        clock.append(time.perf_counter())
    finally:
        builder.cleanup()
    collect, ignore, zip_ = (b - a for a, b in zip(clock, clock[1:]))
    return {
        "seconds": clock[-1] - clock[0],
        "collect": collect,
        "ignore": ignore,
        "zip": zip_,
        "files": len(filtered.included_files),
        "size": built.size_bytes,
        "key": built.storage_key,
    }


def main() -> None:
    logging.disable(logging.CRITICAL)
    directory, rounds = sys.argv[1], int(sys.argv[2])
    packed = [pack(directory) for _ in range(rounds)]
    json.dump(
        {
            "rounds": [{k: p[k] for k in ("seconds", "collect", "ignore", "zip")} for p in packed],
            "files": packed[0]["files"],
            "size": packed[0]["size"],
            "key": packed[0]["key"],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
