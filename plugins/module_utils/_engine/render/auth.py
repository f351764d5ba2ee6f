# SPDX-License-Identifier: BSD-2-Clause
"""A project's own settings of Auth as variables of GoTrue (internal/conf/configuration.go).

What is secret comes out of the Secret that the user keeps, as single variables, though an environment is shown by more
tools than a file is. GoTrue reads files of a directory, too (`--config-dir`), and that would not do:

1. One that it cannot read is only logged (internal/conf/confload/loader.go), and it serves with half of its settings. A
   variable whose key is missing keeps the kubelet from starting the container, and it says which one that is.
2. It waits for files that end in `.env` to be written (internal/reloader/reloader.go); of a mounted Secret Kubernetes
   exchanges the link `..data` and touches no such name. So a changed password would not be noticed there either.
"""

from __future__ import annotations

from ..objects import Body
from ..project.auth_fields import MAIL_PASSWORD, PROVIDER_SECRET
from ..project.model import Auth, Mail


def own_settings(auth: Auth, address: str) -> dict[str, str]:
    """Variables without secrets, those that differ from what all projects have; `address` is the project's."""
    said = {
        "GOTRUE_SITE_URL": auth.site_url or "",
        "GOTRUE_URI_ALLOW_LIST": ",".join(auth.redirect_urls),
        "GOTRUE_DISABLE_SIGNUP": "" if auth.signup else "true",
        "GOTRUE_EXTERNAL_ANONYMOUS_USERS_ENABLED": "true" if auth.anonymous_users else "",
    }
    found = {name: value for name, value in said.items() if value}
    if auth.mail is not None:
        found |= _mail(auth.mail)
    for name, client_id in auth.providers:
        prefix = _provider(name)
        found |= {
            f"{prefix}_ENABLED": "true",
            f"{prefix}_CLIENT_ID": client_id,
            f"{prefix}_REDIRECT_URI": f"{address}/auth/v1/callback",
        }
    return found


def own_secrets(auth: Auth) -> list[Body]:
    """Variables whose values are in the user's Secret, as a container names them."""
    if auth.secret is None:
        return []
    keys = {f"{_provider(name)}_SECRET": f"{name}.{PROVIDER_SECRET}" for name, _client_id in auth.providers}
    if auth.mail is not None and auth.mail.user is not None:
        keys = {"GOTRUE_SMTP_PASS": MAIL_PASSWORD, **keys}
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": auth.secret, "key": key}}} for name, key in keys.items()
    ]


def _mail(mail: Mail) -> dict[str, str]:
    said = {"SENDER_NAME": mail.sender_name, "USER": mail.user}
    return {
        "GOTRUE_MAILER_AUTOCONFIRM": "false",
        "GOTRUE_SMTP_HOST": mail.host,
        "GOTRUE_SMTP_PORT": str(mail.port),
        "GOTRUE_SMTP_ADMIN_EMAIL": mail.sender,
        **{f"GOTRUE_SMTP_{name}": value for name, value in said.items() if value is not None},
    }


def _provider(name: str) -> str:
    return f"GOTRUE_EXTERNAL_{name.upper()}"
