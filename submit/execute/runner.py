"""Calls one function of a Python file: flowship's own runner, where no Prefect server is.

    python -u runner.py path/flow.py:name

Reads the arguments from $FLOWSHIP_PARAMETERS_FILE. What the function returns is left as JSON in
$FLOWSHIP_RESULT; why it did not return, in a few words, in $FLOWSHIP_FAILURE. If neither file
is there, the process was ended before the function returned. What the flow logs, from INFO on, is
appended to $FLOWSHIP_LOGS, a line of JSON for each record.
"""

import datetime
import importlib.util
import inspect
import json
import logging
import os
import sys
import typing

OLDEST = (3, 9)


class Refused(Exception):
    """What cannot be called, or handed on; the text is all that there is to say."""


def main(entrypoint):
    # What the flow starts in its turn is not to take these files for its own.
    result, failure = os.environ.pop("FLOWSHIP_RESULT"), os.environ.pop("FLOWSHIP_FAILURE")
    try:
        if sys.version_info < OLDEST:
            raise Refused("%s is Python %d.%d; flows need %d.%d or later" % ((sys.executable,) + sys.version_info[:2] + OLDEST))
        with open(os.environ["FLOWSHIP_PARAMETERS_FILE"], encoding="utf-8") as f:
            parameters = json.load(f)
        keep_logs(os.environ["FLOWSHIP_LOGS"])
        function = load(entrypoint)
        value = call(function, bind(function, parameters))
        write(result, encode(value))
    except Refused as e:
        write(failure, str(e).encode(errors="replace"))
        return 1
    except Exception as e:
        write(failure, summary(e).encode(errors="replace"))
        show(e)
        return 1
    except KeyboardInterrupt as e:
        show(e)
        sys.excepthook = lambda *_: None  # it was shown; the interpreter ends itself by SIGINT
        raise
    return 0


class Records(logging.Handler):
    """Appends each record as a whole, whichever process or thread it is of."""

    def __init__(self, path):
        super().__init__(logging.INFO)
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))

    def emit(self, record):
        try:
            at = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc).isoformat()
            line = {"level": record.levelno, "message": self.format(record), "timestamp": at}
            if record.name != "root":
                line["name"] = record.name
            rest = memoryview(json.dumps(line).encode() + b"\n")
            while rest:
                rest = rest[os.write(self.file, rest):]
        except Exception:
            self.handleError(record)


def keep_logs(path):
    root = logging.getLogger()
    root.addHandler(Records(path))
    if root.level == logging.WARNING:  # nobody has chosen it
        root.setLevel(logging.INFO)


def load(entrypoint):
    """Imports the file as Prefect does, and finds the function in it."""
    path, _, name = entrypoint.rpartition(":")
    if not os.path.isfile(path):
        raise Refused("the flow file %s is not there" % quoted(path))
    resolved, cwd = os.path.realpath(path), os.getcwd()
    parent, here = os.path.dirname(resolved), os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [parent, cwd] + [p for p in sys.path if os.path.realpath(p) != here]
    sys.argv[:] = [path]
    stem = os.path.splitext(os.path.basename(path))[0]
    if stem in sys.modules:
        import hashlib

        stem = "__prefect_loader_%s__" % hashlib.sha1(os.fsencode(resolved)).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(stem, path, submodule_search_locations=[parent, cwd])
    found = sys.modules[stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    for part in name.split("."):
        if not hasattr(found, part):
            raise Refused("%s has no %s%s" % (quoted(path), quoted(name), nearest(part, vars(found) if hasattr(found, "__dict__") else ())))
        found = getattr(found, part)
    function = getattr(found, "fn", found)  # Prefect's decorators keep the function there
    if not callable(function):
        raise Refused("%s is not a function: its type is %s" % (quoted(entrypoint), type_name(found)))
    return function


def bind(function, parameters):
    """Fits JSON arguments to the signature. As with Prefect, *args is a list by that name, **kwargs an object."""
    try:
        signature = signature_of(function)
    except (TypeError, ValueError):
        raise Refused("the function does not say which parameters it has")
    known, arguments, problems = signature.parameters, {}, []
    for name in parameters:
        if name not in known:
            problems.append("unknown parameter %s%s" % (quoted(name), nearest(name, known)))
    for name, p in known.items():
        several = {p.VAR_POSITIONAL: list, p.VAR_KEYWORD: dict}.get(p.kind)
        if name in parameters:
            value, want = parameters[name], evaluated(p.annotation, function)
            if several is None:
                arguments[name] = fit(value, want, name, problems)
            elif type(value) is several:
                arguments[name] = fit_items(value, want, name, problems)
            else:
                misfit(value, several, name, problems)
        elif p.default is p.empty and several is None:
            problems.append("missing parameter %s" % quoted(name))
    if problems:
        raise Refused("; ".join(problems))
    bound = inspect.BoundArguments(signature, arguments)
    bound.apply_defaults()
    return bound


def signature_of(function):
    if sys.version_info >= (3, 14):
        import annotationlib

        # Names that only type checkers import are left alone.
        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def evaluated(annotation, function):
    """An annotation that is a string says nothing if the function's module cannot tell what it means."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(getattr(inspect.unwrap(function), "__globals__", {})))
    except Exception:
        return inspect.Parameter.empty


PLAIN = (int, str, float, bool, list, dict, type(None))


def fit(value, want, where, problems):
    """The value as the annotation wants it. Only plain types are judged; for others it stays as JSON gave it."""
    origin, args = typing.get_origin(want), typing.get_args(want)
    if origin is typing.Annotated:
        return fit(value, args[0], where, problems)
    if origin is typing.Union or type(want).__name__ == "UnionType":  # int | str, since 3.10
        for arm in sorted(args, key=lambda a: (typing.get_origin(a) or a) is not type(value)):
            misfits = []
            fitted = fit(value, arm, where, misfits)
            if not misfits:
                return fitted
        return misfit(value, want, where, problems)
    plain = type(None) if want is None else origin or want
    if not any(plain is p for p in PLAIN):
        return value
    # JSON has but one kind of number.
    if plain is float and type(value) is int and abs(value) <= sys.float_info.max:
        value = float(value)
    elif plain is int and type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not plain:
        return misfit(value, want, where, problems)
    return fit_items(value, args[-1], where, problems) if args else value


def fit_items(value, want, where, problems):
    if type(value) is list:
        return [fit(v, want, "%s[%d]" % (where, i), problems) for i, v in enumerate(value)]
    return {k: fit(v, want, "%s.%s" % (where, k), problems) for k, v in value.items()}


def misfit(value, want, where, problems):
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > 60:
        text = text[:60] + "..."
    problems.append("parameter %s: want %s, got %s" % (quoted(where), inspect.formatannotation(want), text))


def call(function, bound):
    value = function(*bound.args, **bound.kwargs)
    if not inspect.isawaitable(value):
        return value
    import asyncio

    async def wait():
        return await value

    return asyncio.run(wait())


def encode(value):
    try:
        text = json.dumps(value, allow_nan=False, default=plain, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise Refused("the result is not JSON: it is nested too deeply")
    except (TypeError, ValueError) as e:
        why = str(e)
        if why.startswith("Out of range float"):
            why = "it holds a float that is not a number, or infinite"
        elif why.startswith("Circular"):
            why = "it holds itself"
        raise Refused("the result is not JSON: %s" % why)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair can only be written as an escape
        return json.dumps(json.loads(text), separators=(",", ":")).encode()


def plain(value):
    """What stands in JSON for a value that is none."""
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if not isinstance(value, type) and callable(getattr(value, "model_dump", None)):  # a model of pydantic's
        return value.model_dump(mode="json")
    raise TypeError("it holds a value of type %s" % type_name(value))


def write(path, content):
    with open(path, "wb") as f:
        f.write(content)


def summary(error):
    """What the last line of a traceback says."""
    try:
        text = str(error)
    except Exception:
        text = "<its text cannot be had>"
    return type_name(error) + (": " + text if text else "")


def show(error):
    """Prints the traceback without the frames that are not the flow's."""
    import traceback

    trace = rest = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == main.__code__.co_filename:
            rest = trace.tb_next
        trace = trace.tb_next
    while rest is not None and rest.tb_frame.f_code.co_filename.startswith("<frozen importlib"):
        rest = rest.tb_next
    # The flow may have put something else in the place of sys.stderr.
    traceback.print_exception(type(error), error, rest, file=sys.__stderr__)


def type_name(value):
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else "%s.%s" % (kind.__module__, kind.__qualname__)


def nearest(name, names):
    import difflib

    near = difflib.get_close_matches(name, list(names), 1)
    return ", did you mean %s?" % quoted(near[0]) if near else ""


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
