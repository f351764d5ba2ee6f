# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.postgresql import statements
from ansible_collections.supalove.platform.plugins.module_utils._engine.project.model import IMAGES
from ansible_collections.supalove.platform.plugins.module_utils._engine.render import (
    Context,
    pooler,
    postgresql,
    quota,
    services,
)
from builders import one

ROOT = Path(__file__).parents[3] / "images"


def recipe(name):
    return yaml.safe_load((ROOT / name / "recipe.yml").read_text())


# Those that others make, of which the lab has stand-ins.
FOREIGN = {"auth": "gotrue", "rest": "postgrest", "traefik": "traefik"}


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_the_lab_has_a_stand_in_under_the_name_of_an_image_that_others_make(name):
    made = yaml.safe_load((ROOT.parent / "tests/lab/images" / FOREIGN[name] / "recipe.yml").read_text())
    assert IMAGES[name] == f"{made['name']}:{made['tag']}"
    if name != "traefik":
        assert made["users"].popitem()[1]["uid"] == services.USER


@pytest.mark.parametrize("name", sorted({*IMAGES} - {*FOREIGN}))
def test_the_default_image_is_the_one_that_its_recipe_makes(name):
    assert IMAGES[name] == f"{recipe(name)['name']}:{recipe(name)['tag']}"


@pytest.mark.parametrize("path", ["images/README.md", "inventories/single/group_vars/all.yml"])
def test_an_image_is_called_by_its_present_name_wherever_it_is_shown(path):
    shown = re.findall(r"registry\.supalove\.cloud/platform/[a-z]+:[0-9][\w.-]*", (ROOT.parent / path).read_text())
    assert shown
    assert set(shown) <= set(IMAGES.values())


@pytest.mark.parametrize(("name", "user"), [("postgresql", postgresql.USER), ("pgbouncer", pooler.USER)])
def test_pods_run_as_the_user_of_their_image(name, user):
    (account,) = recipe(name)["users"].values()
    assert recipe(name)["config"]["user"] == f"{user}:{user}"
    assert (account["uid"], account["gid"]) == (user, user)


def test_the_entrypoint_of_the_database_reads_what_is_mounted_and_waits_as_long_as_the_probe():
    text = (ROOT / "postgresql/root/usr/local/bin/supalove-postgresql").read_text()
    assert f'config="${{SUPALOVE_CONFIG:-{postgresql.CONFIG_DIRECTORY}}}"' in text
    assert f"\nstart_seconds={Context.START_SECONDS}\n" in text
    # PostgreSQL starts without a pg_ident.conf, and a scratch copy has none.
    needed = set(one("ConfigMap", "postgresql")["data"]) - {"pg_ident.conf"}
    assert set(re.search(r"for file in (.*); do", text).group(1).split()) == needed


HOLDS = ("ask", "block", "done", "lift")
STOPS = ("volume", "is_stopped", "stopped", "stopped_done", "stop", "go")


@pytest.mark.parametrize("verb", [*HOLDS, *STOPS])
def test_the_program_that_holds_databases_to_their_size_is_in_the_image_with_its_statements(verb):
    root = ROOT / "postgresql/root"
    text = (root / quota.PROGRAM.lstrip("/")).read_text()
    (folder,) = re.findall(r'^statements="\$\{SUPALOVE_QUOTA:-(\S+)\}"$', text, re.MULTILINE)
    assert (root / folder.lstrip("/") / f"{verb}.sql").is_file()


def test_a_block_by_the_quota_is_lifted_in_a_dump_as_the_quota_does_it():
    folder = "root/usr/local/share/supalove/quota/lift.sql"
    assert (ROOT / "archiver" / folder).read_text() == (ROOT / "postgresql" / folder).read_text()


def test_the_limit_is_looked_for_where_it_is_set():
    ask = (ROOT / "postgresql/root/usr/local/share/supalove/quota/ask.sql").read_text()
    assert f"starts_with(setting, '{quota.LIMIT_SETTING}=')" in ask
    assert f"SET {quota.LIMIT_SETTING} =" in statements.LIMIT_DATABASE
    assert f"= '{quota.LIMIT_SETTING}'" in statements.STATE
    for text in (ask, statements.STATE):
        assert f"{quota.SCHEMA}.storage" in text


def test_the_probe_of_the_pooler_is_in_its_image():
    (container,) = one("Deployment", "pooler")["spec"]["template"]["spec"]["containers"]
    program = container["startupProbe"]["exec"]["command"][0]
    assert (ROOT / "pgbouncer" / "root" / program.lstrip("/")).is_file()
