# SPDX-License-Identifier: BSD-2-Clause
"""A project's own settings of Auth as variables of GoTrue (internal/conf/configuration.go).

What is secret comes out of the Secret that the user keeps. It is in nobody's environment, which too many tools show: a
container that ends before Auth begins adds it to the file that Auth reads. GoTrue could read a directory of files, too
(`--config-dir`), and that would not do:

1. One that it cannot read is only logged (internal/conf/confload/loader.go), and it serves with half of its settings.
2. It waits for files that end in `.env` to be written (internal/reloader/reloader.go); of a mounted Secret Kubernetes
   exchanges the link `..data` and touches no such name. So a changed password would not be noticed there either.
"""

from __future__ import annotations

from ..objects import Body
from ..project.auth import secret_keys
from ..project.auth_fields import MAIL_PASSWORD, PROVIDER_SECRET
from ..project.model import Auth, Mail
from ..service_keys import AUTH_FILE
from .context import empty_dir

OWN_DIRECTORY = "/etc/supalove/own"
SETTINGS_DIRECTORY = "/run/supalove"
OWN_FILE = f"{SETTINGS_DIRECTORY}/{AUTH_FILE}"
# Arguments: the Secret's name, the file to add to, and NAME=KEY for each variable. Between single quotes godotenv takes
# all as it is, but for a backslash before the last of them (parser.go, extractVarValue), and cannot have one of them.
_ADD = rf"""set -eu
umask 077
secret=$1 before=$2
shift 2
cat "$before" > {OWN_FILE}
for pair; do
  name=${{pair%%=*}} key=${{pair#*=}}
  value=
  if [ -e "{OWN_DIRECTORY}/$key" ]; then
    value=$(cat "{OWN_DIRECTORY}/$key")
  fi
  if [ -z "$value" ]; then
    echo "the Secret $secret has no $key" >&2
    exit 1
  fi
  case $value in
    *\'*|*\\|*[[:cntrl:]]*)
      echo "$key in the Secret $secret has a single quote or a control character in it, or ends with a backslash" >&2
      exit 1 ;;
  esac
  printf "%s='%s'\n" "$name" "$value" >> {OWN_FILE}
done
"""


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


def own_command(auth: Auth, before: str) -> list[str]:
    """What adds the user's secrets to the settings in a file; nothing where there are none."""
    if auth.secret is None:
        return []
    return ["sh", "-c", _ADD, "sh", auth.secret, before, *(f"{_variable_of(key)}={key}" for key in secret_keys(auth))]


def own_volumes(auth: Auth) -> list[Body]:
    """The user's Secret, and in memory the file with all. That the Secret may be missing is for whoever says which."""
    if auth.secret is None:
        return []
    own = {"name": "own", "secret": {"secretName": auth.secret, "defaultMode": 0o440, "optional": True}}
    return [own, empty_dir("settings", "1Mi", in_memory=True)]


def _mail(mail: Mail) -> dict[str, str]:
    said = {"SENDER_NAME": mail.sender_name, "USER": mail.user}
    return {
        "GOTRUE_MAILER_AUTOCONFIRM": "false",
        "GOTRUE_SMTP_HOST": mail.host,
        "GOTRUE_SMTP_PORT": str(mail.port),
        "GOTRUE_SMTP_ADMIN_EMAIL": mail.sender,
        **{f"GOTRUE_SMTP_{name}": value for name, value in said.items() if value is not None},
    }


def _variable_of(key: str) -> str:
    """Which variable has what is secret under a key."""
    if key == MAIL_PASSWORD:
        return "GOTRUE_SMTP_PASS"
    return f"{_provider(key.removesuffix(f'.{PROVIDER_SECRET}'))}_SECRET"


def _provider(name: str) -> str:
    return f"GOTRUE_EXTERNAL_{name.upper()}"
