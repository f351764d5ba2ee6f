# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Between Ansible and the engine: argument specs, results, diffs, progress. The only file here that imports ansible."""

from __future__ import annotations

import contextlib
import datetime
import gc
import glob
import json
import os
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.yaml import yaml_load

from ._engine.access import Access
from ._engine.archive.documents import parse_time
from ._engine.archive.recovery import AtLsn, AtTime, Latest, Target
from ._engine.archive.segments import parse_lsn
from ._engine.archives import ACCESS_KEY, SECRET_KEY
from ._engine.backends.kubernetes.client import Client, connect
from ._engine.backends.object_store.client import ObjectStoreClient
from ._engine.backends.object_store.client import Target as ObjectStoreTarget
from ._engine.backends.object_store.store import ArchiveStore
from ._engine.backends.postgresql.clusters import through_api_server
from ._engine.backends.vault.client import Target as VaultTarget
from ._engine.backends.vault.client import VaultClient
from ._engine.backends.vault.store import Store
from ._engine.backup import WORKERS as BACKUP_WORKERS
from ._engine.backup import BackupOutcome, BackupReport
from ._engine.credentials import Secret
from ._engine.errors import EngineError, InvalidSpec, MissingLibrary, Problem, code_of
from ._engine.progress import Lines, Progress, Silent
from ._engine.project.model import Platform
from ._engine.project.vocabulary import PER_ARCHIVE, PLATFORM_VARIABLE
from ._engine.restore import Restored
from ._engine.retained import REMOVAL_LIMIT_PERCENT, Rules
from ._engine.retained import Choice as ArchiveChoice
from ._engine.rotate import What
from ._engine.settings import Drift, Settings
from ._engine.steps import Outcome, Plan, Report, Result, Step
from ._engine.vault import ARCHIVE_FOLDER, FOLDERS
from ._engine.verification import Choice

# A result goes to callbacks, logs and AWX's database whole.
SHOWN_PROJECTS = 100
SHOWN_STEPS = 50
SHOWN_DIFFS = 200
SHOWN_FAILURES = 5
# The least value of options that are numbers.
LEAST = {
    "timeout": 1,
    "settle_seconds": 0,
    "workers": 1,
    "prune_limit": 0,
    "wave_size": 1,
    "wave_failures": 0,
    "removal_limit_percent": 0,
}

TIME_EXAMPLE = "a time in ISO 8601 with an offset, such as 2026-11-25T14:03:59+00:00"

T = t.TypeVar("T")
Spec = dict[str, dict[str, t.Any]]
Work = t.Callable[["Client | None", Settings, Progress], dict[str, t.Any]]


def vault_spec() -> Spec:
    """The options of the fragment connection.engine_vault."""
    return {"vault_ca_file": {"type": "path"}, "vault_credentials_file": {"type": "path"}}


def object_store_spec() -> Spec:
    """The option of the fragment connection.engine_object_store."""
    return {"object_store_credentials_file": {"type": "path"}}


def connection_spec() -> Spec:
    """The options of the fragment connection."""
    return {
        "kubeconfig": {"type": "path"},
        "context": {"type": "str"},
        "timeout": {"type": "int", "default": round(Settings().timeout_seconds)},
        "progress_file": {"type": "path"},
    }


def projects_spec() -> Spec:
    """The options of the module projects."""
    return {
        **connection_spec(),
        **vault_spec(),
        **object_store_spec(),
        "projects": {"type": "dict", "default": {}},
        "directory": {"type": "path"},
        "tiers": {"type": "dict", "required": True},
        "platform": {"type": "dict", "default": {}},
        "projects_only": {"type": "list", "elements": "str"},
        "prune": {"type": "bool", "default": Settings().prune},
        "prune_limit": {"type": "int", "default": Settings().prune_limit},
        "purge": {"type": "dict", "default": {}},
        "check_capacity": {"type": "bool", "default": Settings().check_capacity},
        "wave_size": {"type": "int", "default": Settings().wave_size},
        "wave_failures": {"type": "int", "default": Settings().wave_failures},
        "drift": {"type": "str", "choices": [one.value for one in Drift], "default": Settings().drift.value},
        "wait": {"type": "bool", "default": Settings().wait},
        "workers": {"type": "int", "default": Settings().workers},
    }


def platform_spec() -> Spec:
    """The options of the module platform."""
    return {
        **connection_spec(),
        **vault_spec(),
        **object_store_spec(),
        "tiers": {"type": "dict", "required": True},
        "platform": {"type": "dict", "default": {}},
        "wait": {"type": "bool", "default": Settings().wait},
    }


def restore_spec() -> Spec:
    """The options of the module restore."""
    return {
        **connection_spec(),
        **vault_spec(),
        **object_store_spec(),
        "ref": {"type": "str", "required": True},
        "target_time": {"type": "str"},
        "target_lsn": {"type": "str"},
        "target_incarnation": {"type": "str"},
        "latest": {"type": "bool", "default": False},
        "projects": {"type": "dict", "default": {}},
        "directory": {"type": "path"},
        "tiers": {"type": "dict", "required": True},
        "platform": {"type": "dict", "default": {}},
    }


def rotate_spec() -> Spec:
    """The options of the module rotate."""
    return {
        **connection_spec(),
        **vault_spec(),
        "what": {"type": "str", "choices": [one.value for one in What], "default": What.LOGIN.value},
        "refs": {"type": "list", "elements": "str"},
        "platform": {"type": "dict", "default": {}},
        "end_previous": {"type": "bool", "default": False},
        "settle_seconds": {"type": "int"},
        "wave_size": {"type": "int", "default": Settings().wave_size},
        "wave_failures": {"type": "int", "default": Settings().wave_failures},
        "workers": {"type": "int", "default": Settings().workers},
    }


def backup_spec() -> Spec:
    """The options of the module backup."""
    return {
        **connection_spec(),
        "refs": {"type": "list", "elements": "str"},
        "clusters": {"type": "list", "elements": "str"},
        "full": {"type": "bool", "default": False},
        "platform": {"type": "dict", "default": {}},
        "wait": {"type": "bool", "default": Settings().wait},
        "workers": {"type": "int", "default": BACKUP_WORKERS},
    }


def retention_spec() -> Spec:
    """The options of the module retention."""
    return {
        **connection_spec(),
        **object_store_spec(),
        "platform": {"type": "dict", "default": {}},
        "refs": {"type": "list", "elements": "str"},
        "clusters": {"type": "list", "elements": "str"},
        "removal_limit_percent": {"type": "int", "default": REMOVAL_LIMIT_PERCENT},
        "workers": {"type": "int", "default": Settings().workers},
    }


def archive_choice_from(params: t.Mapping[str, t.Any]) -> ArchiveChoice:
    """Whose archives are meant, out of the module's arguments."""
    refs, clusters = params["refs"], params["clusters"]
    return ArchiveChoice(
        refs=None if refs is None else tuple(refs), clusters=None if clusters is None else tuple(clusters)
    )


def rules_from(params: t.Mapping[str, t.Any], platform: Platform) -> Rules:
    """What is kept, out of the module's arguments and the platform."""
    window = datetime.timedelta(days=platform.recovery_window_days)
    return Rules(window=window, removal_limit_percent=params["removal_limit_percent"])


def project_info_spec() -> Spec:
    """The options of the module project_info."""
    return {
        **connection_spec(),
        "refs": {"type": "list", "elements": "str"},
        "archive": {"type": "bool", "default": False},
        "platform": {"type": "dict", "default": {}},
    }


def verify_isolation_spec() -> Spec:
    """The options of the module verify_isolation."""
    base = Choice()
    return {
        **connection_spec(),
        "refs": {"type": "list", "elements": "str"},
        "nodes": {"type": "list", "elements": "str"},
        "node_ports": {"type": "list", "elements": "int", "default": list(base.node_ports)},
        "metadata": {"type": "list", "elements": "str", "default": list(base.metadata)},
        "outside": {"type": "list", "elements": "str", "default": list(base.outside)},
        "settle_seconds": {"type": "int", "default": round(base.settle_seconds)},
        "platform": {"type": "dict", "default": {}},
    }


def choice_from(params: t.Mapping[str, t.Any]) -> Choice:
    """What to verify, out of the module's arguments."""
    refs, nodes = params["refs"], params["nodes"]
    return Choice(
        refs=None if refs is None else tuple(refs),
        nodes=None if nodes is None else tuple(nodes),
        node_ports=tuple(params["node_ports"]),
        metadata=tuple(params["metadata"]),
        outside=tuple(params["outside"]),
        settle_seconds=float(params["settle_seconds"]),
    )


def run_module(spec: Spec, work: t.Callable[[AnsibleModule], Work]) -> t.NoReturn:
    """Read the arguments, connect, do the work, leave. `work` checks its input before anything is connected."""
    collect_nothing()
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    try:
        job = work(module)
        settings = settings_from(module)
        client = _client(module, settings)
        try:
            result = job(client, settings, progress_for(module))
        finally:
            if client is not None:
                client.close()
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.name), exception=str(error.__cause__))
    except InvalidSpec as error:
        problems = [{"path": one.path, "value": one.found, "allowed": one.allowed} for one in error.problems]
        module.fail_json(msg=str(error), problems=problems)
    except EngineError as error:
        module.fail_json(msg=str(error))
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)
    raise AssertionError  # exit_json does not return


def collect_nothing() -> None:
    """Stop looking for cycles. A module's process ends with its work, and until then hundreds of thousands of values
    that it has read would be looked through again and again, for half of the run.
    """
    gc.disable()


def settings_from(module: AnsibleModule) -> Settings:
    """The engine's settings out of the module's arguments; an option that a module lacks keeps its default."""
    params = module.params
    base = Settings()
    problems = tuple(
        Problem(path=name, value=params[name], allowed=f"a whole number from {least}")
        for name, least in LEAST.items()
        if params.get(name) is not None and params[name] < least
    )
    if problems:
        raise InvalidSpec(problems)
    only = params.get("projects_only")
    return Settings(
        check=module.check_mode,
        drift=Drift(params.get("drift", base.drift)),
        wait=params.get("wait", base.wait),
        timeout_seconds=float(params["timeout"]),
        workers=params.get("workers", base.workers),
        only=None if only is None else frozenset(only),
        prune=params.get("prune", base.prune),
        prune_limit=params.get("prune_limit", base.prune_limit),
        purge={ref: str(uid) for ref, uid in params.get("purge", {}).items()},
        check_capacity=params.get("check_capacity", base.check_capacity),
        wave_size=params.get("wave_size", base.wave_size),
        wave_failures=params.get("wave_failures", base.wave_failures),
    )


@contextlib.contextmanager
def access_of(
    module: AnsibleModule, client: Client | None, platform: Platform, settings: Settings
) -> t.Iterator[Access | None]:
    """The ways into the platform; None where there is no cluster yet. Raises InvalidSpec if one is not described."""
    if client is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        store = _store(module, platform, settings)
        vault = None if store is None else stack.enter_context(store)
        databases = stack.enter_context(through_api_server(client))
        archives, given = _archives(module, platform, settings, stack)
        yield Access(client=client, databases=databases, vault=vault, archives=archives, given=given)


@contextlib.contextmanager
def archive_store_of(module: AnsibleModule, platform: Platform, settings: Settings) -> t.Iterator[ArchiveStore | None]:
    """The platform's object store alone; in check mode None where its keys have yet to be written.

    Raises InvalidSpec if the platform has none.
    """
    if platform.object_store_endpoint is None:
        where = f"{PLATFORM_VARIABLE}.object_store_endpoint"
        raise InvalidSpec((Problem(path=where, value=None, allowed="the address of the object store"),))
    with contextlib.ExitStack() as stack:
        yield _archives(module, platform, settings, stack)[0]


def _archives(
    module: AnsibleModule, platform: Platform, settings: Settings, stack: contextlib.ExitStack
) -> tuple[ArchiveStore | None, dict[str, Secret]]:
    """The platform's object store and the keys to it; none if it has none, or the module does not work with it.

    In check mode none, too, where the keys have yet to be written.
    """
    option = "object_store_credentials_file"
    if platform.object_store_endpoint is None or option not in module.params:
        return None, {}
    path = module.params[option]
    if settings.check and path and not os.path.exists(path):
        module.warn(f"There are no keys of the object store yet ({path} does not exist): it is taken for an empty one.")
        return None, {}
    keys = _credentials_from(path, (ACCESS_KEY, SECRET_KEY))
    if keys is None:
        where = f"{PLATFORM_VARIABLE}.object_store_endpoint"
        allowed = f"a file of JSON with {ACCESS_KEY} and {SECRET_KEY}, as {where} is set"
        raise InvalidSpec((Problem(path=option, value=path, allowed=allowed),))
    target = ObjectStoreTarget(
        endpoint=platform.object_store_endpoint,
        region=platform.object_store_region,
        bucket=platform.object_store_bucket,
        prefix=f"{platform.object_store_prefix}/",
        ca_file=_written(platform.object_store_ca, stack),
        access_key=keys[ACCESS_KEY],
        secret_key=keys[SECRET_KEY],
    )
    client = ObjectStoreClient(target, workers=settings.workers, backoff=settings.backoff)
    per_archive = platform.object_store_identities == PER_ARCHIVE
    return stack.enter_context(ArchiveStore(client, manages_identities=per_archive)), keys


def _written(text: str | None, stack: contextlib.ExitStack) -> str | None:
    """A file of these certificates, for libraries that want one, as long as the stack lasts."""
    if text is None:
        return None
    path = os.path.join(stack.enter_context(tempfile.TemporaryDirectory(prefix="supalove-")), "ca.pem")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _store(module: AnsibleModule, platform: Platform, settings: Settings) -> Store | None:
    """The platform's Vault; None if it has none, and in check mode where its credentials have yet to be written."""
    if platform.vault_address is None:
        return None
    option = "vault_credentials_file"
    path = module.params[option]
    if settings.check and path and not os.path.exists(path):
        module.warn(f"There is no login to Vault yet ({path} does not exist): the plan is that of an empty one.")
        return None
    found = _credentials_from(path, ("role_id", "secret_id"))
    if found is None:
        allowed = f"a file of JSON with role_id and secret_id, as {PLATFORM_VARIABLE}.vault_address is set"
        raise InvalidSpec((Problem(path=option, value=path, allowed=allowed),))
    target = VaultTarget(
        address=platform.vault_address,
        mount=platform.vault_mount,
        ca_file=_ca_file_from(module.params["vault_ca_file"]),
        role_id=found["role_id"],
        secret_id=found["secret_id"],
    )
    folders = (*FOLDERS, ARCHIVE_FOLDER) if platform.object_store_endpoint else FOLDERS
    return Store(VaultClient(target, workers=settings.workers, backoff=settings.backoff), folders=folders)


def _ca_file_from(path: str | None) -> str | None:
    """The path itself; None for the host's own certificates. Raises InvalidSpec if there is no such file."""
    if path and not (os.path.isfile(path) and os.access(path, os.R_OK)):
        allowed = "a readable file of certificates, or none for those that the host trusts"
        raise InvalidSpec((Problem(path="vault_ca_file", value=path, allowed=allowed),))
    return path


def _credentials_from(path: str | None, names: tuple[str, ...]) -> dict[str, Secret] | None:
    """None if there is no such file, or it does not say all of them."""
    try:
        with open(path or "", encoding="utf-8") as file:
            found = json.load(file)
        return {key: Secret(str(found[key])) for key in names}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def progress_for(module: AnsibleModule) -> Progress:
    """Progress into the file that the action plugin reads, or none."""
    path = module.params["progress_file"]
    if not path:
        return Silent()

    def write(text: str) -> None:
        # Nobody's work is worth losing because it cannot be watched.
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    return Lines(write)


def projects_from(directory: str | None, listed: dict[str, t.Any]) -> dict[str, t.Any]:
    """Listed projects, and those of a directory: the file acme.yml has the settings of acme. Raises InvalidSpec."""
    if directory is None:
        return listed
    found: dict[str, t.Any] = {}
    problems: list[Problem] = []
    for path in sorted(glob.glob(os.path.join(glob.escape(directory), "*.yml"))):
        ref = os.path.basename(path).removesuffix(".yml")
        if ref in listed:
            problems.append(Problem(path=path, value=ref, allowed=f"one place for a project; {ref} is listed, too"))
        try:
            with open(path, encoding="utf-8") as file:
                found[ref] = yaml_load(file)
        except Exception as error:  # noqa: BLE001 (whatever the parser raises, its file is what is wrong)
            problems.append(Problem(path=path, value=str(error), allowed="a readable file of YAML"))
    if not os.path.isdir(directory):
        problems.append(Problem(path="directory", value=directory, allowed="a directory"))
    if problems:
        raise InvalidSpec(tuple(problems))
    return {**listed, **found}


def result_of(report: Report, *, show_diff: bool) -> dict[str, t.Any]:
    """The result of a run, bounded: counts always, failures and changes one by one up to a limit."""
    shown = [one for one in report.outcomes if one.result is not Result.UNCHANGED]
    shown.sort(key=lambda one: (one.result is Result.CHANGED, one.ref))
    result: dict[str, t.Any] = {
        "changed": report.changed,
        "counts": {kind.value: sum(one.result is kind for one in report.outcomes) for kind in Result},
        "outcomes": [_outcome(one) for one in shown[:SHOWN_PROJECTS]],
        "outcomes_left_out": max(0, len(shown) - SHOWN_PROJECTS),
        "left_alone": list(report.left_alone[:SHOWN_PROJECTS]),
        "requests": {"reads": report.reads, "writes": report.writes},
    }
    if show_diff:
        result["diff"] = diff_of(Plan(steps=tuple(step for one in report.outcomes for step in one.steps)))
    if not report.succeeded:
        result.update(failed=True, msg=_failure_text(report))
    return result


def target_from(params: t.Mapping[str, t.Any]) -> Target:
    """What to restore to, out of the module's arguments. Raises InvalidSpec unless just one is said, and rightly."""
    said = [name for name in ("target_time", "target_lsn", "latest") if params[name]]
    if len(said) != 1:
        allowed = "one of target_time, target_lsn, latest"
        raise InvalidSpec((Problem(path="target", value=", ".join(said) or None, allowed=allowed),))
    if params["target_time"]:
        return AtTime(
            time=_read("target_time", params["target_time"], lambda text: parse_time(text, "it"), TIME_EXAMPLE)
        )
    if params["target_lsn"]:
        lsn = _read("target_lsn", params["target_lsn"], parse_lsn, "a position such as 0/3000060")
        return AtLsn(lsn=lsn, incarnation=params["target_incarnation"])
    return Latest()


def _read(name: str, text: str, read: t.Callable[[str], T], allowed: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise InvalidSpec((Problem(path=name, value=text, allowed=allowed),)) from error


def restored_result_of(done: Restored, *, show_diff: bool) -> dict[str, t.Any]:
    """The result of a restore: that of the run, and what it restored from."""
    plan = done.plan
    source = {
        "archive": plan.archive,
        "incarnation": plan.incarnation,
        "backup": plan.backup,
        "archived_until": plan.archived_until.isoformat(),
        "is_beyond_archive": plan.is_beyond_archive,
        "last_segment": plan.last_segment.name,
    }
    return {**result_of(done.report, show_diff=show_diff), "source": source}


def backup_result_of(report: BackupReport) -> dict[str, t.Any]:
    """The result of base backups, bounded: counts always, what went wrong first, at most SHOWN_PROJECTS one by one."""
    order = (Result.FAILED, Result.WAITING, Result.CHANGED, Result.UNCHANGED)
    shown = sorted(report.outcomes, key=lambda one: order.index(one.result))
    result: dict[str, t.Any] = {
        "changed": report.changed,
        "counts": {kind.value: sum(one.result is kind for one in report.outcomes) for kind in order},
        "outcomes": [_backup_outcome(one) for one in shown[:SHOWN_PROJECTS]],
        "outcomes_left_out": max(0, len(shown) - SHOWN_PROJECTS),
    }
    wrong = [one for one in shown if one.result in (Result.FAILED, Result.WAITING)]
    if wrong:
        why = [f"{one.ref or one.cluster}: {_why_no_backup(one)}" for one in wrong]
        result.update(failed=True, msg=_text_of(why, len(report.outcomes), "have no base backup that was asked for"))
    return result


def _backup_outcome(outcome: BackupOutcome) -> dict[str, t.Any]:
    name = {"ref": outcome.ref} if outcome.ref else {"cluster": outcome.cluster}
    shown: dict[str, t.Any] = {**name, "archive": outcome.archive, "result": outcome.result.value}
    if outcome.result in (Result.FAILED, Result.WAITING) or outcome.reason:
        shown["reason"] = _why_no_backup(outcome)
    if outcome.is_full is not None:
        shown["full"] = outcome.is_full
    if outcome.finished is not None:
        shown["finished"] = outcome.finished.isoformat(timespec="seconds")
    return shown


def _why_no_backup(outcome: BackupOutcome) -> str:
    failure = outcome.failure
    return outcome.reason if failure is None else f"{failure.object}: {failure.reason}{code_of(failure.status)}"


def diff_of(plan: Plan) -> list[dict[str, t.Any]]:
    """A plan as Ansible's diffs. Generated values are not in it, as they are not in a plan."""
    shown = [
        {
            "before_header": str(step.id),
            "after_header": f"{step.id} ({step.action}: {step.reason})",
            "before": step.before or {},
            "after": step.after,
        }
        for step in plan.steps[:SHOWN_DIFFS]
    ]
    if len(plan.steps) > SHOWN_DIFFS:
        shown.append({"prepared": f"and {len(plan.steps) - SHOWN_DIFFS} more changes\n"})
    return shown


def _client(module: AnsibleModule, settings: Settings) -> Client | None:
    """A connection; in check mode None where the cluster's kubeconfig has yet to be written."""
    kubeconfig = module.params["kubeconfig"]
    if settings.check and kubeconfig and not os.path.exists(kubeconfig):
        module.warn(f"There is no cluster yet ({kubeconfig} does not exist): the plan is that of an empty one.")
        return None
    return connect(
        kubeconfig=kubeconfig,
        context=module.params["context"],
        workers=settings.workers,
        backoff=settings.backoff,
    )


def _outcome(outcome: Outcome) -> dict[str, t.Any]:
    shown: dict[str, t.Any] = {
        "ref": outcome.ref,
        "result": outcome.result.value,
        "uid": outcome.uid,
        "steps": [_step(step) for step in outcome.steps[:SHOWN_STEPS]],
    }
    if outcome.endpoints:
        shown["endpoints"] = dict(outcome.endpoints)
    if outcome.waiting_for:
        shown["waiting_for"] = list(outcome.waiting_for)
    if outcome.held:
        shown["held"] = outcome.held
    if outcome.failure is not None:
        failure = outcome.failure
        shown["failure"] = {
            "step": failure.step,
            "object": failure.object,
            "reason": failure.reason,
            "status": failure.status,
        }
    return shown


def _step(step: Step) -> dict[str, str]:
    return {"action": step.action.value, "object": str(step.id), "reason": step.reason}


def _failure_text(report: Report) -> str:
    """The first few that went wrong, each in a line; all of them are in the outcomes."""
    order = (Result.FAILED, Result.WAITING, Result.HELD)
    wrong = sorted((one for one in report.outcomes if one.result in order), key=lambda one: order.index(one.result))
    return _text_of([f"{one.ref}: {_why(one)}" for one in wrong], len(report.outcomes), "are not as they should be")


def _text_of(wrong: list[str], total: int, what: str) -> str:
    lines = wrong[:SHOWN_FAILURES]
    if len(wrong) > SHOWN_FAILURES:
        lines.append(f"and {len(wrong) - SHOWN_FAILURES} more")
    return f"{len(wrong)} of {total} {what}:\n" + "\n".join(f"  - {one}" for one in lines)


def _why(outcome: Outcome) -> str:
    if outcome.failure is not None:
        failure = outcome.failure
        return f"{failure.step} {failure.object}: {failure.reason}{code_of(failure.status)}"
    return outcome.held or "not ready in time: " + "; ".join(outcome.waiting_for)
