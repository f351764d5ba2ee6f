# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Between Ansible and the engine: a run of a module, and the systems that it is let into. The only file here that
imports ansible.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import json
import os
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.yaml import yaml_load

from ._engine.access import Access
from ._engine.archives import ACCESS_KEY, SECRET_KEY
from ._engine.backends.kubernetes.client import Client, connect
from ._engine.backends.object_store.client import ObjectStoreClient
from ._engine.backends.object_store.client import Target as ObjectStoreTarget
from ._engine.backends.object_store.store import ArchiveStore
from ._engine.backends.postgresql.clusters import through_api_server
from ._engine.backends.vault.client import Target as VaultTarget
from ._engine.backends.vault.client import VaultClient
from ._engine.backends.vault.store import Store
from ._engine.credentials import Secret
from ._engine.errors import EngineError, InvalidSpec, MissingLibrary, Problem
from ._engine.progress import Lines, Progress, Silent
from ._engine.project.model import Inventory, Platform
from ._engine.project.parse import parse
from ._engine.project.vocabulary import PER_ARCHIVE, PLATFORM_VARIABLE
from ._engine.render.archive import encryption_of
from ._engine.settings import Drift, Settings
from ._engine.vault import ARCHIVE_FOLDER, FOLDERS
from ._specs import Spec

# The least value of options that are numbers.
LEAST = {
    "timeout": 1,
    "settle_seconds": 0,
    "workers": 1,
    "prune_limit": 0,
    "wave_size": 1,
    "wave_failures": 0,
    "removal_limit_percent": 0,
    "most": 1,
    "keep_days": 1,
    "gateway_port": 1,
    "tries": 1,
    "pause_seconds": 0,
    "answer_seconds": 1,
    "restarts_a_day": 1,
    "restart_limit": 1,
    "recovery_seconds": 0,
}

Work = t.Callable[["Client | None", Settings, Progress], dict[str, t.Any]]


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
        purge_without_final_backup=frozenset(params.get("purge_without_final_backup") or ()),
        data_lost=frozenset(params.get("data_lost") or ()),
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
        **encryption_of(platform),
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
    """The platform's Vault; None if it has none, or the module does not work with it.

    In check mode None, too, where its credentials have yet to be written.
    """
    option = "vault_credentials_file"
    if platform.vault_address is None or option not in module.params:
        return None
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


def inventory_from(params: t.Mapping[str, t.Any]) -> Inventory:
    """What the user wrote, out of the module's arguments. Raises InvalidSpec."""
    return parse(
        projects=projects_from(params["directory"], params["projects"]),
        tiers=params["tiers"],
        platform=params["platform"],
    )


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
