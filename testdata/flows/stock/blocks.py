"""Saves a block of credentials: blocks.py TYPE NAME, with its fields as JSON on standard input."""

import json
import sys

from prefect_aws.credentials import AwsCredentials
from prefect_azure.credentials import AzureBlobStorageCredentials
from prefect_gcp.credentials import GcpCredentials

if __name__ == "__main__":
    kind = {"s3": AwsCredentials, "gcs": GcpCredentials, "azure-blob-storage": AzureBlobStorageCredentials}[sys.argv[1]]
    kind(**json.load(sys.stdin)).save(sys.argv[2])
