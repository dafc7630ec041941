"""Adds up the amounts of an included file; used by the cross-checks with Prefect."""

from pathlib import Path

from prefect import flow

from amounts import read_amounts


@flow
def main(path: str = "data/orders.csv", least: float = 0) -> float:
    amounts = read_amounts(Path(path))
    return sum(a for a in amounts if a >= least)
