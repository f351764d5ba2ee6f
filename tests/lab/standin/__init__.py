# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's stand-in for the `k3s` program.

It gives K3s' own interface (commands, configuration, files, messages: see
contract.yaml) over the upstream Kubernetes components. It runs on lab hosts
only, as a zipapp, with Debian's python3, python3-yaml and python3-cryptography.
"""
