# SPDX-License-Identifier: BSD-2-Clause
"""The Job that holds a project's clients while its database restarts. It lets them go by itself, come what may."""

from __future__ import annotations

from ..objects import Body, Desired
from ..project.quantities import MIB, format_bytes, format_cpu
from .context import CONTAINER_SECURITY, Context, empty_dir, guaranteed
from .pooler import PAUSER, PAUSER_KEY
from .pooler import USER as POOLER_USER

PROGRAM = "/usr/local/bin/supalove-pooler-pause"
COMPONENT = "pause"
PASSWORD_DIRECTORY = "/etc/supalove/pause"
# The longest that clients are held. A pooler lets them wait longer than this (query_wait_timeout).
LONGEST_SECONDS = 60
# Pods of a Job that were lost are replaced; one that comes too late only resumes.
TRIES = 6
KEPT_SECONDS = 600
CPU = 20
MEMORY = 32 * MIB


def render_pause(context: Context, until: int) -> Desired:
    """The Job; it pauses nothing after `until`, in seconds since the epoch, which gives it a name of its own."""
    items = [{"key": f"{PAUSER_KEY}.password", "path": "password"}]
    mounted = {"secretName": context.CREDENTIALS, "defaultMode": 0o440, "items": items}
    secret = {"name": "password", "secret": mounted}
    pod = {
        "restartPolicy": "OnFailure",
        "terminationGracePeriodSeconds": 15,
        "containers": [_container(context, until)],
        "volumes": [empty_dir("tmp", "1Mi"), secret],
    }
    spec = {
        "backoffLimit": TRIES,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": context.pod_template(COMPONENT, config={}, user=POOLER_USER, spec=pod),
    }
    return context.object("batch/v1", "Job", f"{COMPONENT}-{until}", component=COMPONENT, spec=spec)


def _container(context: Context, until: int) -> Body:
    host = f"{context.POOLER}.{context.names.namespace}.svc.{context.platform.cluster_domain}"
    return {
        "name": COMPONENT,
        "image": context.platform.images["pgbouncer"],
        "imagePullPolicy": "IfNotPresent",
        "command": [PROGRAM, context.DATABASE_ALIAS, str(LONGEST_SECONDS), str(until)],
        "env": [
            {"name": "PGHOST", "value": host},
            {"name": "PGPORT", "value": str(context.POOLER_PORT)},
            {"name": "PGUSER", "value": PAUSER},
            {"name": "SUPALOVE_PASSWORD_FILE", "value": f"{PASSWORD_DIRECTORY}/password"},
        ],
        "resources": guaranteed(cpu=format_cpu(CPU), memory=format_bytes(MEMORY)),
        "securityContext": dict(CONTAINER_SECURITY),
        "readinessProbe": {
            "exec": {"command": ["test", "-e", "/tmp/paused"]},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "password", "mountPath": PASSWORD_DIRECTORY, "readOnly": True},
        ],
    }
