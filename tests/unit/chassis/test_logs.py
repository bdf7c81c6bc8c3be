"""Logs: one JSON object a line on stderr, ours and the libraries' alike, and no secret in them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

_PROLOGUE = """
import logging, threading
from services.chassis import logs
from services.chassis.settings import Secret
logs.configure("probe", LEVEL)
log = logs.get_logger()
"""


def lines_of(program: str, level: str = "info") -> list[dict[str, Any]]:
    """What a process that set up logging writes; a process, since logging is set up once for a whole one."""
    code = _PROLOGUE.replace("LEVEL", repr(level)) + program
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_an_event_is_one_json_object_with_its_stage_level_and_instant() -> None:
    """Even where a value has line breaks: no one can forge a line."""
    (line,) = lines_of("log.info('event_handled', topic='requests', why='two\\nlines')")
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "event_handled",
        "level": "info",
        "stage": "probe",
        "topic": "requests",
        "why": "two\nlines",
    }


def test_a_librarys_line_has_the_same_shape_from_any_thread() -> None:
    """Discord and aiokafka log from threads of their own, and still one filter by stage finds them."""
    program = """
say = lambda: logging.getLogger("discord.gateway").warning("shard %s lost", 3)
thread = threading.Thread(target=say); thread.start(); thread.join()
"""
    (line,) = lines_of(program)
    assert (line["stage"], line["level"], line["logger"]) == ("probe", "warning", "discord.gateway")
    assert line["event"] == "shard 3 lost"


def test_values_under_names_of_credentials_are_masked_however_written() -> None:
    """A second line of defence, for ours and for the libraries' lines."""
    (line,) = lines_of(
        "log.error('x', interaction_token='a', Authorization='b', kafka_sasl_password='c', user=1)"
    )
    assert (line["interaction_token"], line["Authorization"], line["kafka_sasl_password"]) == ("***",) * 3
    assert line["user"] == 1


def test_a_secret_that_is_logged_under_another_name_stays_hidden() -> None:
    """The type hides itself, so the name does not matter."""
    (line,) = lines_of("log.info('x', found=Secret('hush'), deep={'in': [Secret('hush')]})")
    assert "hush" not in json.dumps(line)
    assert line["found"] == "Secret(***)"


def test_an_exception_is_inside_its_line() -> None:
    """A traceback on lines of its own would break whoever parses them."""
    program = """
try:
    1 / 0
except ZeroDivisionError as error:
    log.error("event_failed", exc_info=error)
    logging.getLogger("library").exception("failed too")
"""
    ours, theirs = lines_of(program)
    assert "ZeroDivisionError" in ours["exception"]
    assert "ZeroDivisionError" in theirs["exception"]


def test_chatty_libraries_are_quiet_below_warning_and_others_are_not() -> None:
    """Each rebalance step and each connection is not news."""
    program = """
for name in ("aiokafka.consumer", "faust.app", "mode.worker", "services.chassis.faust_app", "library"):
    logging.getLogger(name).info("news")
"""
    assert [line["logger"] for line in lines_of(program)] == ["library"]


def test_the_level_holds_for_ours_and_for_libraries() -> None:
    """One setting, and no line below it."""
    program = """
log.info("ours"); logging.getLogger("library").info("theirs")
log.warning("ours_louder"); logging.getLogger("library").warning("theirs louder")
"""
    assert [line["event"] for line in lines_of(program, "warning")] == ["ours_louder", "theirs louder"]
