# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition of OpenShift's Route, out of the Go module of its API, checked against the Go checksum database."""

from __future__ import annotations

from pathlib import Path

from . import gateway

MODULE = "github.com/openshift/api"
# Of July 2025. The module has tags of 2017 only.
VERSION = "v0.0.0-20250710004639-926605d3338b"


def route_definition() -> Path:
    """The file of the CustomResourceDefinition. OpenShift itself serves the kind by an API server of its own."""
    return gateway.module_folder(MODULE, VERSION) / "route/v1/zz_generated.crd-manifests/routes.crd.yaml"
