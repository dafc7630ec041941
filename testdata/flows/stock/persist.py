"""Flows that store their results in a block: persist.py NAME

The block, and what to run, are described on standard input. Every run is a line of JSON: what it
is, and its id.
"""

import json
import sys
from dataclasses import dataclass

from prefect import flow
from prefect.filesystems import LocalFileSystem


@dataclass
class Point:
    x: int
    y: int


@flow
def value():
    return {"n": 1, "list": [1, 2.5, None], "text": "é"}


@flow
def fail():
    raise ValueError("as asked")


@flow
def point():
    return Point(1, 2)


def block(kind, credentials, bucket, folder):
    if kind in ("s3", "minio"):
        from prefect_aws.credentials import AwsCredentials, MinIOCredentials
        from prefect_aws.s3 import S3Bucket

        credentials = (AwsCredentials if kind == "s3" else MinIOCredentials)(**credentials)
        return S3Bucket(bucket_name=bucket, bucket_folder=folder, credentials=credentials)
    if kind == "gcs":
        from prefect_gcp.cloud_storage import GcsBucket
        from prefect_gcp.credentials import GcpCredentials

        return GcsBucket(bucket=bucket, bucket_folder=folder, gcp_credentials=GcpCredentials(**credentials))
    if kind == "azure":
        from prefect_azure.blob_storage import AzureBlobStorageContainer
        from prefect_azure.credentials import AzureBlobStorageCredentials

        return AzureBlobStorageContainer(container_name=bucket, base_folder=folder, credentials=AzureBlobStorageCredentials(**credentials))
    return LocalFileSystem(basepath=folder) if kind == "local" else None


def main(name):
    about = json.load(sys.stdin)
    runs = about.pop("runs")
    storage = block(**about)
    if storage:
        storage.save(name)
    for run in runs:
        f, serializer = run.split()
        bound = globals()[f].with_options(persist_result=True, result_storage=storage, result_serializer=serializer)
        state = bound(return_state=True)
        print(json.dumps({"run": run, "id": str(state.state_details.flow_run_id)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
