# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on a schedule: the jobs for AWX as data, and that the timers and the lines for cron say the same.

There is no AWX here. It takes less than iCalendar has: its API wants one DTSTART in UTC, and an INTERVAL.
"""

from __future__ import annotations

import configparser
import datetime
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dateutil.rrule import rrulestr

REPOSITORY = Path(__file__).parents[2]
PLAYBOOKS = REPOSITORY / "playbooks"
UNITS = REPOSITORY / "docs/examples/systemd"
PAGE = (REPOSITORY / "docs/schedules.md").read_text()
SERVICE = UNITS / "supalove@.service"
SURVEY_TYPES = {"text", "multiplechoice"}
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
RULE = re.compile(r"DTSTART:(?P<start>\d{8}T\d{6}Z) RRULE:(?P<parts>[A-Z0-9=;]+)")


class Loader(yaml.SafeLoader):
    """With the tag of texts that Ansible does not template."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
DATA: dict[str, Any] = yaml.load((PLAYBOOKS / "vars/awx.yml").read_text(), Loader=Loader)  # noqa: S506 (a safe one)
JOBS: dict[str, dict[str, Any]] = DATA["__awx_jobs"]
SCHEDULES = {(key, name): one for key, job in JOBS.items() for name, one in job.get("schedules", {}).items()}


def text_of(job: dict[str, Any]) -> str:
    return (PLAYBOOKS / str(job["playbook"])).read_text()


def parts_of(rule: str) -> tuple[datetime.datetime, dict[str, str]]:
    """Start and parts of a rule in the one form that AWX takes."""
    found = RULE.fullmatch(rule)
    assert found, rule
    start = datetime.datetime.strptime(found["start"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    return start, dict(part.split("=") for part in found["parts"].split(";"))


def minutes_of(rule: str) -> int:
    """Between two runs of what runs all day; 0 for what has its time of the day."""
    _start, parts = parts_of(rule)
    return int(parts["INTERVAL"]) if parts["FREQ"] == "MINUTELY" else 0


def cron_of(rule: str) -> str:
    start, parts = parts_of(rule)
    if minutes_of(rule):
        return f"*/{minutes_of(rule)} * * * *"
    day = str((DAYS.index(parts["BYDAY"]) + 1) % 7) if "BYDAY" in parts else "*"
    return f"{start.minute} {start.hour} {parts.get('BYMONTHDAY', '*')} * {day}"


def calendar_of(rule: str) -> str:
    start, parts = parts_of(rule)
    if minutes_of(rule):
        return f"*-*-* *:00/{minutes_of(rule)}:00 UTC"
    day = f"{parts['BYDAY'].title()[:2]}" if "BYDAY" in parts else ""
    name = next((full for full in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun") if day and full[:2] == day), "")
    date = f"*-*-{int(parts.get('BYMONTHDAY', '0')):02}" if "BYMONTHDAY" in parts else "*-*-*"
    return f"{name} {date} {start:%H:%M:%S} UTC".strip()


def arguments_of(key: str, name: str) -> str:
    """What a run on this schedule is given on the command line."""
    given = {**JOBS[key].get("extra_vars", {}), **SCHEDULES[key, name].get("extra_data", {})}
    return " ".join(f"-e {variable}={value}" for variable, value in given.items())


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(path)
    return parser


@pytest.mark.parametrize("key", JOBS)
def test_a_job_names_a_playbook_that_is_there(key: str) -> None:
    assert (PLAYBOOKS / JOBS[key]["playbook"]).is_file()


@pytest.mark.parametrize("key", JOBS)
def test_what_a_job_sets_or_asks_for_is_a_variable_of_its_playbook(key: str) -> None:
    job = JOBS[key]
    asked = [question["variable"] for question in job.get("survey", [])]
    for variable in [*asked, *job.get("extra_vars", {})]:
        assert re.search(rf"\b{variable}\b", text_of(job)), variable


@pytest.mark.parametrize("key", [key for key, job in JOBS.items() if "survey" in job])
def test_a_survey_is_one_that_awx_takes(key: str) -> None:
    for question in JOBS[key]["survey"]:
        assert question["type"] in SURVEY_TYPES
        assert question["question_name"]
        assert question["question_description"]
        assert ("choices" in question) == (question["type"] == "multiplechoice")
        assert all(isinstance(choice, str) for choice in question.get("choices", []))
        assert question.get("default", "") in question.get("choices", [""])


@pytest.mark.parametrize("key", JOBS)
def test_awx_does_not_end_a_job_before_its_playbook_says_what_was_not_done(key: str) -> None:
    job = JOBS[key]
    default = re.search(r"supalove_\w+_timeout \| default\((\d+)\)", text_of(job))
    own = [value for name, value in job.get("extra_vars", {}).items() if name.endswith("_timeout")]
    limit = max([*own, *([int(default[1])] if default and not own else [])], default=0)
    assert job["timeout_seconds"] > limit


def test_no_two_jobs_or_schedules_have_one_name() -> None:
    names = [job["name"] for job in JOBS.values()]
    assert len(names) == len(set(names))
    schedules = [f"{JOBS[key]['name']}, {name}" for key, name in SCHEDULES]
    assert len(schedules) == len(set(schedules))


def test_a_job_has_the_keys_that_the_tasks_read_and_no_others() -> None:
    tasks = (PLAYBOOKS / "tasks/awx_job.yml").read_text()
    read = set(re.findall(r"__awx_job\.value\.(\w+)", tasks))
    assert {key for job in JOBS.values() for key in job} == read
    once = set(re.findall(r"__awx_schedule\.value\.(\w+)", tasks))
    assert {key for one in SCHEDULES.values() for key in one} == once - {"enabled"}


@pytest.mark.parametrize(("key", "name"), SCHEDULES)
def test_a_rule_is_one_that_awx_takes_and_comes_again(key: str, name: str) -> None:
    rule = SCHEDULES[key, name]["rrule"]
    start, parts = parts_of(rule)
    assert set(parts) <= {"FREQ", "INTERVAL", "BYDAY", "BYMONTHDAY"}
    assert parts["INTERVAL"] == "1" or (minutes_of(rule) and 60 % minutes_of(rule) == 0)
    found = rrulestr(rule)
    assert found[0] == start, "the first run is not when the rule says it begins"
    assert found.after(datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)) is not None


@pytest.mark.parametrize(("key", "name"), SCHEDULES)
def test_a_schedule_answers_its_survey_and_nothing_else(key: str, name: str) -> None:
    asked = {question["variable"]: question for question in JOBS[key].get("survey", [])}
    given = SCHEDULES[key, name].get("extra_data", {})
    assert set(given) == set(asked)
    assert all(answer in asked[variable]["choices"] for variable, answer in given.items())


def test_runs_do_not_begin_at_the_same_time() -> None:
    """A timer is late by ten minutes at most, and most runs are shorter than what lies between two.

    What runs all day cannot keep out of the way; it takes the lease only to restart something.
    """
    daily = [one["rrule"] for one in SCHEDULES.values() if not minutes_of(one["rrule"])]
    starts = sorted(parts_of(rule)[0].strftime("%H%M") for rule in daily)
    minutes = [int(start[:2]) * 60 + int(start[2:]) for start in starts]
    assert min(later - earlier for earlier, later in itertools.pairwise(minutes)) > 10


def test_every_file_of_a_credential_is_asked_for_and_every_path_is_such_a_file() -> None:
    for kind in DATA["__awx_credential_types"]:
        asked = {field["id"] for field in kind["inputs"]["fields"]}
        files = {name.removeprefix("template.") for name in kind["injectors"]["file"]}
        paths = kind["injectors"]["extra_vars"].values()
        assert files == asked == {path.split("filename.")[1].removesuffix(" }}") for path in paths}


def test_the_playbook_says_so_where_the_collection_is_not_installed(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", str(PLAYBOOKS / "awx.yml")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "ansible-galaxy collection install awx.awx" in " ".join(done.stdout.split())


@pytest.mark.parametrize(("key", "name"), SCHEDULES)
def test_the_timer_of_a_schedule_says_the_same(key: str, name: str) -> None:
    timer = unit(UNITS / f"supalove@{key}.timer")["Timer"]
    assert timer["OnCalendar"] == calendar_of(SCHEDULES[key, name]["rrule"])
    assert timer["Persistent"] == "true"
    assert timer["RandomizedDelaySec"] == ("30s" if minutes_of(SCHEDULES[key, name]["rrule"]) else "10min")


def test_there_is_no_timer_without_a_schedule_and_each_is_a_playbook() -> None:
    timers = {path.name.removeprefix("supalove@").removesuffix(".timer") for path in UNITS.glob("*.timer")}
    assert timers == {key for key, _weight in SCHEDULES}
    assert all((PLAYBOOKS / f"{timer}.yml").is_file() for timer in timers)


def test_the_service_outlasts_every_playbook() -> None:
    limit = unit(SERVICE)["Service"]["TimeoutStartSec"]
    assert int(limit.removesuffix("h")) * 3600 > max(job["timeout_seconds"] for job in JOBS.values())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze")
def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        # The one thing that is not on this machine.
        text = path.read_text().replace("/srv/platform/venv/bin/ansible-playbook", "/usr/bin/env")
        (tmp_path / path.name).write_text(text)
    timers = sorted(str(path) for path in tmp_path.glob("*.timer"))
    done = subprocess.run(["systemd-analyze", "verify", *timers], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("key", "name"), SCHEDULES)
def test_the_page_has_the_schedule_as_a_line_for_cron_and_as_arguments_for_the_timer(key: str, name: str) -> None:
    arguments = arguments_of(key, name)
    line = f"{cron_of(SCHEDULES[key, name]['rrule'])} $PLAY supalove.platform.{key} {arguments}".rstrip()
    assert f"\n{line}\n" in PAGE
    if arguments:
        assert f"\n# /etc/supalove/{key}.env\nARGUMENTS={arguments}\n" in PAGE
