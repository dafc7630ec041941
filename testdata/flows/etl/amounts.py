import csv
from pathlib import Path


def read_amounts(path: Path) -> list[float]:
    with path.open(newline="") as f:
        return [float(row["amount"]) for row in csv.DictReader(f)]
