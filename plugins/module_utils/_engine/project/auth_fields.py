# SPDX-License-Identifier: BSD-2-Clause
"""Every key of a project's own settings of Auth, once, and the forms of what stands there.

What becomes a variable of GoTrue has no `$`, with which Kubernetes would put another variable's value there.
"""

from __future__ import annotations

import re

from . import fields
from .fields import Field, is_host

# Those of ProviderConfiguration in GoTrue's internal/conf/configuration.go that need an id and a secret and nothing
# else: keycloak needs an address, too; linkedin and slack have given way to their successors.
PROVIDERS = (
    "apple",
    "azure",
    "bitbucket",
    "discord",
    "facebook",
    "figma",
    "github",
    "gitlab",
    "google",
    "kakao",
    "linkedin_oidc",
    "notion",
    "slack_oidc",
    "spotify",
    "twitch",
    "twitter",
    "workos",
    "zoom",
)
# Keys in the Secret; of a provider its name stands before it.
MAIL_PASSWORD = "smtp.password"
PROVIDER_SECRET = "secret"
# Of the platform's own Secrets in a project's namespace.
_TAKEN = ("archive", "credentials")
MOST_REDIRECTS = 64
LONGEST_URL = 512

_PORT = r"(?::[0-9]{1,5})?"
_LOCAL = re.compile(rf"http://(?:localhost|127\.0\.0\.1|\[::1\]){_PORT}(?P<path>/.*)?")
_HTTPS = re.compile(rf"https://(?P<host>[^/:]+){_PORT}(?P<path>/.*)?")
# Of an app: by a name that is its own, turned around (RFC 8252, 7.1).
_APP = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)+://(?P<path>.*)")
_PATH = re.compile(r"[A-Za-z0-9._~%/-]*")
_PATH_PATTERN = re.compile(r"[A-Za-z0-9._~%/*?=&-]*")
_LABEL_PATTERN = re.compile(r"[a-z0-9-]*\*[a-z0-9-]*")
_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?P<host>.+)")
_LOGIN = re.compile(r"[!-#%-~]{1,255}")
_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@~-]{0,254}")


def is_site(text: str) -> bool:
    """True for an address that a browser may be sent to: by TLS, or on its own machine.

    >>> [is_site(text) for text in ("https://app.example.org/in", "http://localhost:3000", "http://example.org")]
    [True, True, False]
    """
    found = _HTTPS.fullmatch(text) or _LOCAL.fullmatch(text)
    if found is None or len(text) > LONGEST_URL or not _PATH.fullmatch(found["path"] or ""):
        return False
    return found.re is _LOCAL or is_host(found["host"])


def is_redirect(text: str) -> bool:
    """True for a pattern of such addresses, or of an app's. In a host a wildcard is for the first label alone.

    >>> is_redirect("https://*.example.org/**"), is_redirect("https://**")
    (True, False)
    """
    found = _HTTPS.fullmatch(text) or _LOCAL.fullmatch(text) or _APP.fullmatch(text)
    # To GoTrue brackets are one out of some characters.
    if found is None or "[" in text or len(text) > LONGEST_URL or not _PATH_PATTERN.fullmatch(found["path"] or ""):
        return False
    return found.re is not _HTTPS or _is_host_pattern(found["host"])


def _is_host_pattern(host: str) -> bool:
    first, _dot, rest = host.partition(".")
    return is_host(host) or (_LABEL_PATTERN.fullmatch(first) is not None and is_host(rest))


def _is_address(text: str) -> bool:
    found = _ADDRESS.fullmatch(text)
    return found is not None and is_host(found["host"])


def _is_name(text: str) -> bool:
    """What a mail may show before an address; a line break would begin another header."""
    return 0 < len(text) <= 64 and text.isprintable() and not set(text) & set('$"<>\\')


AUTH = (
    Field(
        name="site_url",
        kind=fields.matching(is_site, "an address such as https://app.example.org, or one of http://localhost"),
        about="Where users are sent after they have signed in or followed a mail. By default the project's own "
        "address.",
    ),
    Field(
        name="redirect_urls",
        kind=fields.several(
            is_redirect,
            f"a list of at most {MOST_REDIRECTS} addresses, each once: https:// and a host, whose first label may "
            "have a *, http://localhost, or an app's own scheme such as org.example.app://, and a path that may have * "
            "and **",
            most=MOST_REDIRECTS,
        ),
        about="Where else an application may have them sent. One asterisk stands for what is between dots and slashes, "
        "two stand for anything.",
    ),
    Field(name="signup", kind=fields.flag(), about="Whether anybody may sign up. By default true."),
    Field(
        name="anonymous_users",
        kind=fields.flag(),
        about="Whether users may sign in without saying who they are. By default false.",
    ),
    Field(
        name="secret",
        kind=fields.matching(
            lambda text: fields.is_dns_name(text) and text not in _TAKEN,
            "the name of a Secret in the project's namespace: lower-case letters, digits, - and ., and none of the "
            "platform's own, " + " and ".join(_TAKEN),
        ),
        about=f"Secret in the project's namespace that the user keeps, with the keys {MAIL_PASSWORD} and "
        f"PROVIDER.{PROVIDER_SECRET}. Required with mail.user or providers, refused without them.",
    ),
)

MAIL = (
    Field(
        name="host",
        kind=fields.matching(is_host, "a host name in lower case such as smtp.example.org"),
        about="Mail server. With one, who signs up has to confirm the address.",
    ),
    Field(name="port", kind=fields.whole(1, 65_535), about="Its port. By default 587."),
    Field(
        name="sender",
        kind=fields.matching(_is_address, "a mail address such as no-reply@example.org"),
        about="Address that mails are from.",
    ),
    Field(
        name="sender_name",
        kind=fields.matching(_is_name, 'a name of at most 64 characters without $, ", <, > and \\'),
        about="Name that mails are from.",
    ),
    Field(
        name="user",
        kind=fields.of_form(_LOGIN, "a login without spaces and without $"),
        about=f"Login at the mail server, with the password {MAIL_PASSWORD} of the Secret. By default there is none.",
    ),
)

PROVIDER = (
    Field(
        name="client_id",
        kind=fields.of_form(_CLIENT_ID, "an id as the provider gives it"),
        about=f"Id of the application at the provider; its secret is PROVIDER.{PROVIDER_SECRET} of the Secret.",
    ),
)

AUTH_ABOUT = "The project's own settings of Auth. Only with a gateway."
MAIL_ABOUT = "Mail server that Auth sends by. By default there is none, and an address counts as confirmed."
PROVIDERS_ABOUT = "OAuth providers that users may sign in by, by name: " + ", ".join(PROVIDERS) + "."
