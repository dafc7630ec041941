"""Saves a block that says where a Kubernetes cluster is, as the file in KUBECONFIG does: clusterblock.py NAME. It prints the block's id."""

import os
import sys
from pathlib import Path

from prefect_kubernetes.credentials import KubernetesClusterConfig

if __name__ == "__main__":
    print(KubernetesClusterConfig.from_file(Path(os.environ["KUBECONFIG"])).save(sys.argv[1]))
