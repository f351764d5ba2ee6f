# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine is imported by its name in the collection; the Makefile links the checkout to that place."""

import os
import sys

sys.path.insert(0, os.environ["SUPALOVE_COLLECTIONS"])
# Archives as the archive engines leave them are the same for both kinds of tests. Some files are called alike: those
# here come first.
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../unit/engine/archive"))
sys.path.insert(0, os.path.dirname(__file__))
# The lab's package, of which the stand-ins for the projects' services are a part.
sys.path.append(os.path.join(os.path.dirname(__file__), ".."))

from fix_apiserver import api_server  # noqa: F401
from fix_dns import zone  # noqa: F401
from fix_engine import engine, own_engine, prepared, ref  # noqa: F401
from fix_fifty import undisturbed  # noqa: F401
from fix_gateway import gateway, gateway_kinds, pooler  # noqa: F401
from fix_kubelet import kubelet  # noqa: F401
from fix_object_store import locked_store, object_store, object_store_server  # noqa: F401
from fix_openshift import no_route_kind, route_definition, route_kind  # noqa: F401
from fix_postgresql import postgresql, shared  # noqa: F401
from fix_proxy import proxied  # noqa: F401
from fix_registry import public_registry, site_registry  # noqa: F401
from fix_services import pod  # noqa: F401
from fix_vault import vault, vault_server  # noqa: F401
from fix_walg import archive, host, site  # noqa: F401


def pytest_collection_modifyitems(items):
    """Those that fill the server with projects come last: every run reads all that there are."""
    order = ("undisturbed", "thousand")
    items.sort(key=lambda item: [name in item.fixturenames for name in reversed(order)])
