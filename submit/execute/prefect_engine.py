"""Runs a flow with Prefect's engine: flowship's own starter, under a supervisor in Go.

    python prefect_engine.py run bundle DOCUMENT NOTES
    python prefect_engine.py run deployment FLOW_RUN_ID NOTES
    python prefect_engine.py hooks bundle DOCUMENT STATE
    python prefect_engine.py hooks deployment FLOW_RUN_ID STATE

"run" is what Prefect's supervisor starts a second interpreter for, and ends with the exit code that
one would have. It appends to NOTES, a line of JSON at a time, what the supervisor cannot know
without an interpreter. Where this Prefect has not what is needed, it ends with UNSUITED
before there are any notes.

"hooks" runs the flow's hooks for STATE, for a flow whose process is gone.
"""

import json
import os
import sys

UNSUITED = 75


def main(mode, kind, which, beside):
    # The interpreter has put this file's directory there; "python -m" would have put this one.
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.getcwd()
    # What starts processes of its own is not to import this file there.
    sys.modules["__main__"].__dict__.pop("__file__", None)
    if mode == "hooks":
        return hooks(*(bundled(which) if kind == "bundle" else deployed(which)), beside)
    try:
        starter = without_garbage(Bundle if kind == "bundle" else Deployment)
    except (ImportError, AttributeError):
        return UNSUITED
    note(beside, {"explanations": explanations()})
    code = 0
    try:
        starter.run(which, beside)
    except SystemExit as e:
        code = e.code
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    note(beside, {"ended": True})
    return code


def without_garbage(make):
    """Makes a starter. Of all that is made with it, nothing becomes garbage."""
    import gc

    collecting = gc.isenabled()
    gc.disable()
    try:
        return make()
    finally:
        if collecting:
            gc.enable()


class Bundle:
    """What is needed of Prefect for the flow of a bundle; making one fails where it is not there."""

    def __init__(self):
        from prefect import flow_engine
        from prefect._internal.control_listener import configure_from_env
        from prefect.client.schemas.objects import FlowRun
        from prefect.context import SettingsContext, get_settings_context
        from prefect.engine import handle_engine_signals
        from prefect.settings.context import get_current_settings
        from prefect.settings.models.root import Settings

        self.environment = get_current_settings().to_environment_variables
        self.configure, self.FlowRun, self.run_flow = configure_from_env, FlowRun, flow_engine.run_flow
        self.SettingsContext, self.settings_context, self.Settings = SettingsContext, get_settings_context, Settings
        self.signals = handle_engine_signals
        self.executor = os.path.join(os.path.dirname(flow_engine.__file__), "bundles", "execute.py")
        leave_heartbeats(flow_engine)

    def run(self, document, notes):
        bundle = read(document)
        sys.argv[:] = [self.executor, "--key", document]
        for name, value in self.environment(exclude_unset=True).items():
            if value is not None:
                os.environ.setdefault(name, value)
        leave_hooks()
        outer = self.settings_context()
        flow_run = self.FlowRun.model_validate(bundle["flow_run"])
        self.configure()  # it takes the secret out of the environment before foreign code runs
        flow, context = unpickle(bundle["function"]), unpickle(bundle["context"])
        note_hooks(notes, flow)
        with self.SettingsContext(profile=outer.profile, settings=self.Settings()):
            with self.signals(flow_run.id):
                finish(self.run_flow(flow=flow, flow_run=flow_run, context=context))


class Deployment:
    """The same for a flow run of a deployment, for which "python -m prefect.engine" finds the flow."""

    def __init__(self):
        from prefect import flow_engine

        self.engine, self.load = flow_engine, flow_engine.load_flow
        leave_heartbeats(flow_engine)

    def run(self, flow_run_id, notes):
        import runpy
        import warnings

        # "-m" would have it once, and here it was imported to be prepared.
        warnings.filterwarnings("ignore", "'prefect.engine' found in sys.modules", RuntimeWarning)
        leave_hooks()
        self.engine.load_flow = noting_hooks(notes, self.load)
        sys.argv[:] = ["prefect.engine", flow_run_id]
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def noting_hooks(notes, load):
    def load_flow(*args, **kwargs):
        flow = load(*args, **kwargs)
        note_hooks(notes, flow)
        return flow

    return load_flow


def leave_hooks():
    """Leaves hooks that outlive this process to its supervisor."""
    os.environ["PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS"] = "false"


def leave_heartbeats(flow_engine):
    """Has flows that are not coroutines leave their heartbeat's thread, as those do that are.

    It sleeps a second at a time; to wait for it makes every run that much longer."""
    import functools
    import inspect

    beat = getattr(flow_engine, "_send_heartbeats", None)
    if callable(beat) and "join_on_exit" in inspect.signature(beat).parameters:
        flow_engine._send_heartbeats = functools.partial(beat, join_on_exit=False)


def finish(running):
    """Does what is left to do of a flow that is a coroutine or a generator."""
    import asyncio
    import inspect

    async def exhaust():
        async for _ in running:
            pass

    if inspect.isgenerator(running):  # first: older versions of Python take one for a coroutine
        for _ in running:
            pass
    elif inspect.isasyncgen(running):
        asyncio.run(exhaust())
    elif asyncio.iscoroutine(running):
        asyncio.run(running)


def bundled(document):
    from prefect.bundles import extract_flow_from_bundle
    from prefect.client.schemas.objects import FlowRun

    bundle = read(document)
    return FlowRun.model_validate(bundle["flow_run"]), lambda: extract_flow_from_bundle(bundle)


def deployed(flow_run_id):
    from uuid import UUID

    from prefect.flow_engine import load_flow, load_flow_run

    flow_run = load_flow_run(flow_run_id=UUID(flow_run_id))
    return flow_run, lambda: load_flow(flow_run)


def hooks(flow_run, load, state):
    import asyncio

    from prefect.client.schemas.objects import State
    from prefect.runner._hook_runner import HookRunner

    state = State.model_validate(read(state))

    async def resolve_flow(_):
        return load()

    runner = HookRunner(resolve_flow=resolve_flow)
    asyncio.run(runner.run_cancellation_hooks(flow_run, state))
    asyncio.run(runner.run_crashed_hooks(flow_run, state))
    return 0


def explanations():
    """What this Prefect says to exit codes; "" is what it says to any other one."""
    try:
        from prefect._internal import infrastructure_exit_codes as codes

        known = {str(code): hint.explanation for code, hint in codes.INFRASTRUCTURE_EXIT_HINTS.items()}
        known[""] = codes.get_infrastructure_exit_info(-(1 << 20)).explanation
        return known
    except (ImportError, AttributeError):
        return {}


def note_hooks(notes, flow):
    has = {when: bool(getattr(flow, f"on_{when}_hooks", True)) for when in ("cancellation", "crashed")}
    note(notes, has)


def unpickle(text):
    import base64
    import gzip

    import cloudpickle

    return cloudpickle.loads(gzip.decompress(base64.b64decode(text)))


def read(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def note(path, content):
    with open(path, "a", encoding="utf-8") as f:
        f.write(json.dumps(content) + "\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
