"""Results as Prefect itself stores them, for the tests: results.py write

prints a JSON array of cases: what is stored (in base64), the data of the state, and what the
result is. results.py read takes an array of what is stored and the data of the state from
standard input, and prints the values that Prefect reads from it.

results.json is what "write" printed with Prefect 3.8.8 and Python 3.11, as python - write < results.py
"""

import base64
import datetime
import decimal
import enum
import json
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from prefect.exceptions import MissingResult
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultRecord, ResultRecordMetadata, ResultStore
from prefect.serializers import CompressedSerializer, JSONSerializer, PickleSerializer, Serializer


@dataclass
class Point:
    x: int
    y: int


class Colour(enum.Enum):
    RED = 1


class Stop(RuntimeError):
    def __init__(self, reason, code):
        super().__init__(reason, code)


class Halt(Stop):
    pass


def raised(f):
    try:
        f()
    except Exception as e:
        return e


SERIALIZERS = [
    Serializer(type="pickle"),
    Serializer(type="json"),
    Serializer(type="compressed/pickle"),
    Serializer(type="compressed/json"),
    CompressedSerializer(serializer="pickle"),
    CompressedSerializer(serializer=PickleSerializer(), compressionlib="bz2"),
    CompressedSerializer(serializer=JSONSerializer(), compressionlib="gzip"),
    CompressedSerializer(serializer=CompressedSerializer(serializer="json", compressionlib="zlib"), compressionlib="lzma"),
]

PLAIN = {
    "none": None,
    "true": True,
    "integers": [0, -1, 255, 65536, 2**63, -(2**70), 10**400],
    "floats": [0.0, -0.0, 1.0, 0.1, 1e16, 1e-5, 1e22, 123456789.125, 5e-324],
    "texts": ["", "é 😀", 'quote " \\ / \n\t\x00\x7f', "<&>\u2028"],
    "nested": {"a": [1, {"b": None}], "c": {}, "d": []},
    "object like a document": {"result": 5},
    "object like an old document": {"data": "abc", "metadata": {"page": 1}},
    "long": ["flowship " * 50] * 3,
}
PICKLED = {
    "tuple": (1, (2, ()), "x"),
    "keys": {1: "a", 2.5: "b", None: "c", True: "d", "e": "f"},
    "sets": [{3, 1, 2}, frozenset("a"), set()],
    "bytes": [b"abc", bytearray(b"")],
}
EXCEPTIONS = {
    "text": ValueError("as asked"),
    "key": KeyError("k"),
    "file": raised(lambda: open("/none")),
    "division": raised(lambda: 1 / 0),
    "nothing": RuntimeError(),
    "several": TypeError("it's", 'a "b"', 1.5, None, [b"\x00'"], {"k": (1,)}),
    "empty": ValueError(""),
    "number": SystemExit(3),
    "prefect": MissingResult("gone"),
    "made here": Stop("enough", 7),
    "made here, twice": Halt("enough", 8),
    "group": ExceptionGroup("all", [ValueError("a"), KeyError("b")]),
}
OBJECTS = {
    "datetime.datetime": datetime.datetime(2026, 1, 2),
    "decimal.Decimal": [1, {"x": decimal.Decimal("1.5")}],
    "uuid.UUID": uuid.UUID(int=1),
    "pathlib.PurePosixPath": PurePosixPath("a/b"),
    "__main__.Point": Point(1, 2),
    "__main__.Colour": Colour.RED,
    "json.decoder.JSONDecodeError": raised(lambda: json.loads("{")),
    "cloudpickle.cloudpickle._make_function": lambda: 1,
    "builtins.bytes": b"\xff",
}


def type_name(e):
    return f"{type(e).__module__}.{type(e).__qualname__}"


def plainly(v):
    """The value as Prefect's JSON has it, sets in order, and byte arrays and frozen sets as their plain kin."""
    if isinstance(v, (bytes, bytearray)):
        return {"__class__": "builtins.bytes", "data": v.decode()}
    if isinstance(v, (set, frozenset)):
        return {"__class__": "builtins.set", "data": sorted(v)}
    if isinstance(v, list):
        return [plainly(e) for e in v]
    return v


def stored(value, serializer, combined=False):
    """What a flow, or else a task, stores, and the data of the state."""
    with tempfile.TemporaryDirectory() as tmp:
        store = ResultStore(result_storage=LocalFileSystem(basepath=tmp), serializer=serializer)
        record = store.create_result_record(value, key="k")
        store.persist_result_record(record)
        payload = Path(record.metadata.storage_key).read_bytes() if combined else record.serialize_result()
        metadata = record.metadata.model_copy(update={"storage_key": "/results/k"})
    return {"stored": base64.b64encode(payload).decode(), "data": json.loads(metadata.dump_bytes())}


def write():
    cases = []

    def add(name, value, serializer, **want):
        kind = serializer.type + (f" {serializer.compressionlib}" if serializer.type == "compressed" else "")
        for combined in False, True:
            if not combined or kind in ("pickle", "json"):
                cases.append({"name": f"{name}, {kind}{', combined' * combined}", **stored(value, serializer, combined), **want})

    for serializer in SERIALIZERS:
        for name, value in PLAIN.items():
            add(name, value, serializer, json=json.dumps(value, sort_keys=True))
    for name, value in PICKLED.items():
        want = value if name == "keys" else plainly(value)
        add(name, value, SERIALIZERS[0], json=json.dumps({str(json.loads(json.dumps({k: 0})).popitem()[0]): v for k, v in want.items()} if name == "keys" else want))
    for serializer in SERIALIZERS[:4]:
        for name, e in EXCEPTIONS.items():
            add("exception: " + name, e, serializer, exception=type_name(e), message=str(e))
    for name, value in OBJECTS.items():
        add(name, value, SERIALIZERS[0], notPlain=name)
    add("datetime", OBJECTS["datetime.datetime"], SERIALIZERS[1], json=JSONSerializer().dumps(OBJECTS["datetime.datetime"]).decode())
    for name, value in {"not a number": [1.5, float("nan")], "infinite": {"a": -float("inf"), "NaN": "Infinity"}}.items():
        for serializer in SERIALIZERS[:2]:
            add(name, value, serializer, notJSON=True)

    # As Prefect 2 stored it, and as the oldest results of Prefect 3 have it.
    old = {"serializer": {"type": "pickle", "picklelib": "cloudpickle", "picklelib_version": None}, "data": PickleSerializer().dumps([1, 2]).decode(), "prefect_version": "2.20.0"}
    bare = {"result": PickleSerializer().dumps([3]).decode()}
    direct = {"metadata": {"storage_key": "k"}, "result": {"a": 1}}
    for name, document, value in ("old", old, [1, 2]), ("bare", bare, [3]), ("direct", direct, {"a": 1}):
        payload = json.dumps(document).encode()
        assert ResultRecord.deserialize(payload, backup_serializer=PickleSerializer()).result == value
        cases.append({"name": f"{name} document", "stored": base64.b64encode(payload).decode(), "data": stored(0, PickleSerializer())["data"], "json": json.dumps(value)})
    print("[" + ",\n".join(json.dumps(case) for case in cases) + "]")


def read():
    values = []
    for case in json.load(sys.stdin):
        metadata = ResultRecordMetadata.model_validate(case["data"])
        payload = base64.b64decode(case["stored"])
        values.append(ResultRecord.deserialize(payload, backup_serializer=metadata.serializer).result)
    json.dump(values, sys.stdout)


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]]()
