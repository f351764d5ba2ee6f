#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what the platform knows of its projects."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_info
short_description: Read state, placement and endpoints of projects
description:
  - Returns what the records of projects say, and whether their databases and poolers are ready now.
  - Never returns a secret. RV(projects[].endpoints) names the Secret that holds the credentials.
author:
  - Supalove contributors (@supalove)
extends_documentation_fragment:
  - supalove.platform.attributes.read_only
  - supalove.platform.attributes.actiongroup_platform
  - supalove.platform.connection
  - supalove.platform.vocabulary
options:
  refs:
    description:
      - Refs of the projects to return; those without a record are left out. Without it all projects are returned.
    type: list
    elements: str
  archive:
    description:
      - Whether to ask how each project is archived. It costs a connection through the API server for each project with
        a PostgreSQL of its own, and one for each shared cluster.
    type: bool
    default: false
seealso:
  - module: supalove.platform.projects
  - module: supalove.platform.backup
  - module: supalove.platform.domains
  - module: supalove.platform.health
"""

EXAMPLES = r"""
- name: Read all projects
  supalove.platform.project_info:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
  register: tenants

- name: Show where the project acme is
  ansible.builtin.debug:
    msg: "{{ (tenants.projects | selectattr('ref', 'equalto', 'acme') | first).endpoints }}"

- name: Read how all projects are archived
  supalove.platform.project_info:
    kubeconfig: "{{ k3s_kubeconfig_path }}"
    platform: "{{ supalove_platform }}"
    archive: true
  register: archived

- name: Fail if one is not archived as it should be
  ansible.builtin.assert:
    that: archived.projects | rejectattr('archive.is_healthy') | length == 0
"""

RETURN = r"""
projects:
  description: The projects, in the order of their refs.
  returned: always
  type: list
  elements: dict
  contains:
    ref:
      description: The project's name.
      type: str
      returned: always
    uid:
      description: What its database and roles are named after; empty before its first run.
      type: str
      returned: always
    spec:
      description: What its owner wrote.
      type: dict
      returned: always
    state:
      description: Whether it is to run, V(present) or V(absent).
      type: str
      returned: always
    phase:
      description:
        - How far the last run that had something to do came. Empty before the first.
        - V(Applying) means that it has begun and is at work or was killed, V(Waiting) that all is written and was not
          seen ready, V(Ready) that it was, V(Stopped) that nothing of it runs and all is kept, and V(Failed) that it
          could not go on.
      type: str
      returned: always
    message:
      description: Why, in a sentence.
      type: str
      returned: always
    since:
      description: Since when it is in this phase.
      type: str
      returned: always
    placement:
      description: Where its database is, V(dedicated) or V(shared/) and the name of the cluster.
      type: str
      returned: always
    sessions:
      description: How many sessions its pooler may open on a shared cluster.
      type: int
      returned: always
    sizes:
      description: CPU, memory and storage of its own PostgreSQL as they are now. Empty on a shared cluster.
      type: dict
      returned: always
      sample: {cpu: "2", memory: 4Gi, storage: 20Gi}
    storage:
      description:
        - What its database on a shared cluster takes, as the program beside the server has last noted it.
        - Empty for a database that has just been made, and for a dedicated project, whose PostgreSQL nobody asks from
          outside; there the log of the container C(quota) tells of warnings and blocks.
      type: dict
      returned: always
      contains:
        state:
          description:
            - V(ok), V(warning) from 80 % of the limit on, V(blocked) from the limit on until it is below 90 % again.
            - V(unknown) if the cluster did not tell.
          type: str
          returned: if something is known or the cluster did not tell
        bytes:
          description: What it takes.
          type: int
          returned: if something is known
        limit:
          description: What it may take, in bytes.
          type: int
          returned: if something is known
        since:
          description: Since when it is in this state.
          type: str
          returned: if something is known
        message:
          description: Why the cluster did not tell.
          type: str
          returned: if the state is V(unknown)
    ready:
      description: Whether its database and its pooler are ready now.
      type: bool
      returned: always
    waiting_for:
      description: What is not ready, each with its reason.
      type: list
      elements: str
      returned: always
    drift:
      description:
        - Objects that are not as the last run left them, each with what happened. The next run repairs them.
        - Roles and databases on shared clusters are not looked at here.
      type: list
      elements: str
      returned: always
    endpoints:
      description:
        - Host, port and database for clients in the cluster, and the Secret with login and password.
        - With a gateway, C(url) is the address of services from outside, and C(sql) that of the database, which is
          verified by RV(projects[].authority).
      type: dict
      returned: always
      sample:
        host: pooler.p-acme.svc.cluster.local
        port: "6432"
        database: postgres
        secret: p-acme/credentials
        url: https://acme.example.com
        sql: postgresql://acme.example.com:5432/postgres?sslmode=verify-full
    health:
      description:
        - What M(supalove.platform.health) found when it last looked, V(up), V(degraded) or V(down), why, and since when
          it is well or is not. Empty if nobody has looked.
      type: dict
      returned: always
      sample:
        state: up
        message: all answer
        since: "2026-11-26T14:03:59+00:00"
    authority:
      description:
        - The certificate, in PEM, by which clients from outside verify the project's pooler, C(sslrootcert) of libpq.
        - Empty without a gateway.
      type: str
      returned: always
    domains:
      description:
        - The host names that it is to have besides the platform's, and the record in the DNS that proves each of them
          to be its own. The token in it is no secret.
        - V(proven) is the time at which M(supalove.platform.domains) first found that record, empty if it has not yet.
      type: list
      elements: dict
      returned: always
      sample:
        - name: api.example.org
          proven: "2026-11-27T08:00:00+00:00"
          record:
            name: _supalove.api.example.org
            type: TXT
            value: supalove-verification=5f0c0d3f6f6c9e1b8a7d2e4c1b3a5968
    archive:
      description:
        - How the project's own PostgreSQL is archived, or the cluster that it is on, as the archiver beside it tells.
        - Times are those of the archiver's clock, empty for never. Where the archiver does not answer, nothing runs, or
          nothing is archived, there are only the first three.
      type: dict
      returned: if O(archive=true)
      contains:
        is_healthy:
          description: Whether there are no RV(projects[].archive.problems). True of a project that is stopped.
          type: bool
          returned: always
        problems:
          description: What is wrong, each in a sentence.
          type: list
          elements: str
          returned: always
        message:
          description: Why the archiver was not asked.
          type: str
          returned: if the project is stopped
        archive:
          description: Name of the archive in the object store.
          type: str
          returned: if the archiver answers
        incarnation:
          description: The life of the PostgreSQL to which the archive is written now.
          type: str
          returned: if the archiver answers
        engine:
          description: What archives, C(wal-g) or C(barman-cloud).
          type: str
          returned: if the archiver answers
        refused:
          description: Why nothing is archived at all; empty if it is.
          type: str
          returned: if the archiver answers
        rpo_seconds:
          description: The longest that a commit is not to be in the archive.
          type: int
          returned: if the archiver answers
        backup_hours:
          description: Time from one base backup to the next.
          type: int
          returned: if the archiver answers
        ready_files:
          description: WAL files that wait to be sent.
          type: int
          returned: if the archiver answers
        oldest_ready_seconds:
          description: How long the oldest of them has waited.
          type: int
          returned: if the archiver answers
        last_wal:
          description: The WAL file sent last, of those since the archiver began.
          type: str
          returned: if the archiver answers
        last_wal_at:
          description: When.
          type: str
          returned: if the archiver answers
        last_heartbeat_at:
          description: When the archiver last committed its heartbeat, of which there is one in each RPO.
          type: str
          returned: if the archiver answers
        last_backup_at:
          description: When the newest base backup in the archive was finished.
          type: str
          returned: if the archiver answers
        last_backup_is_full:
          description: Whether that one needs no other.
          type: bool
          returned: if the archiver answers
        last_full_backup_at:
          description: When the newest full base backup in the archive was finished.
          type: str
          returned: if the archiver answers
        backup_running:
          description: Whether a base backup is being made now.
          type: bool
          returned: if the archiver answers
        next_backup_at:
          description: When the next one is due.
          type: str
          returned: if the archiver answers
        failures:
          description: Of C(wal), C(backup) and C(heartbeat), how many in a row, the last error and when.
          type: dict
          returned: if the archiver answers
          sample: {wal: {count: 0, error: "", at: ""}}
        wal_bytes:
          description: What C(pg_wal) takes of the volume.
          type: int
          returned: if the archiver answers
        volume_bytes:
          description: Size of the volume.
          type: int
          returned: if the archiver answers
        volume_free_bytes:
          description: What is free of it.
          type: int
          returned: if the archiver answers
        points:
          description:
            - Moments of this project that were named (M(supalove.platform.restore_point)), newest first, each with
              C(made), its C(lsn), and the C(incarnation) in whose archive it is. The archiver looks once in an hour
              which there are; it knows the 200 newest of an archive.
          type: list
          elements: dict
          returned: if the archiver answers
          sample:
            - name: before-v2
              made: "2026-11-25T14:03:59+00:00"
              lsn: 0/70000B8
              incarnation: 20261125t000000z-k3v7q2ab
        kept_databases:
          description:
            - Databases of this project that restores and imports have replaced, each with its size, C(until) when it
              was live, and C(goes_at), after which M(supalove.platform.retention) removes it.
          type: list
          elements: dict
          returned: if the archiver answers
          sample:
            - name: p_abcdefgh2345_20261115t141500z
              bytes: 7340032
              until: "2026-11-15T14:15:00+00:00"
              goes_at: "2026-11-22T14:15:00+00:00"
        last_drill_at:
          description: When a drill last tried to restore a moment of its archive; empty if none has.
          type: str
          returned: if it has a PostgreSQL
        last_drill_error:
          description: Why that proved nothing; empty if it proved that the archive can be restored.
          type: str
          returned: if it has a PostgreSQL
        writes_stopped:
          description: Whether tenants have no sessions, as the volume is nearly full of WAL that waits to be sent.
          type: bool
          returned: if the archiver answers
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import Work, run_module
from ..module_utils._engine.describe import describe
from ..module_utils._engine.project.parse import parse
from ..module_utils._specs import project_info_spec


def _work(module: AnsibleModule) -> Work:
    params: dict[str, t.Any] = module.params
    platform = parse(projects={}, tiers={}, platform=params["platform"]).platform
    refs = params["refs"]
    return lambda client, settings, _progress: {
        "changed": False,
        "projects": describe(client, platform, refs=refs, settings=settings, with_archive=params["archive"]),
    }


def main() -> None:
    """Run the module."""
    run_module(project_info_spec(), _work)


if __name__ == "__main__":
    main()
