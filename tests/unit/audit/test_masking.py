"""No audit output holds an interaction token."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from services.audit.describe import as_json, as_line
from services.audit.masking import PREVIEW_BYTES, preview, scrub, scrub_header, token_of
from services.audit.observation import Observation, Raw, observe
from services.audit.render import plan_json, plan_lines, timeline_json, timeline_lines
from services.audit.replay import plan
from services.audit.timeline import build
from services.contracts.codec import Codec
from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import JobCompleted
from tests.unit.audit.journeys import REQUEST, SECRET, START, TOKEN, Journey, happy_journey, request

ADDRESS = f"https://discord.com/api/v10/webhooks/616161616161616161/{TOKEN}/messages/@original"


def everything() -> list[Observation]:
    """Every kind of record that can hold a token, whole, damaged and buried, with a token in every text around it."""
    journey = happy_journey()
    journey.cancelled(3.0)
    whole = list(journey.raws)
    for raw in whole:
        leaky = replace(
            raw, headers=(*raw.headers, ("interaction-token", TOKEN.encode()), ("note", ADDRESS.encode()))
        )
        journey.put(leaky, 20.0)
        journey.buried(raw, 21.0, error="ClientError", message=f"404, url='{ADDRESS}'")
        if raw.value is not None:
            damaged = replace(raw, value=raw.value + b"\x00")
            journey.put(damaged, 22.0)
            journey.buried(damaged, 23.0, message=ADDRESS)
            journey.put(replace(raw, value=b"\x00\x00\x00\x00\x01" + raw.value[10:]), 24.0)
    journey.put(replace(whole[0], value=TOKEN.encode()), 25.0)
    quoting = replace(
        _completed(journey), error=error_info(ErrorCode.INTERNAL_ERROR, f"PATCH {ADDRESS} failed")
    )
    journey.add(quoting, 26.0, stage="gpu_worker")
    return journey.seen()


def shown(output: object) -> str:
    """The output as the text that an operator gets."""
    return output if isinstance(output, str) else json.dumps(output)


@pytest.mark.parametrize(
    "command", ["timeline", "timeline --json", "tail", "tail --json", "replay", "replay --json"]
)
def test_no_command_prints_a_token(command: str) -> None:
    """Not as text, not as bytes in hexadecimal, not out of an error message, an address or a header."""
    records = everything()
    journey, replays = build(REQUEST, records, START + timedelta(minutes=1)), plan(records, force=True)
    outputs: dict[str, object] = {
        "timeline": timeline_lines(journey),
        "timeline --json": timeline_json(journey),
        "tail": [as_line(seen) for seen in records],
        "tail --json": [as_json(seen) for seen in records],
        "replay": plan_lines(replays, [f"refused: {ADDRESS}"] * len(replays.replays)),
        "replay --json": plan_json(replays, [f"refused: {ADDRESS}"] * len(replays.replays)),
    }
    text = shown(outputs[command])
    assert len(text) > 1000, "the command shows something"
    assert TOKEN[:24] not in text
    assert SECRET not in text
    assert TOKEN[:24].encode().hex() not in text.replace(" ", "")


def test_the_preview_ends_before_the_token_of_every_event() -> None:
    """A damaged event is previewed, and its token lies behind the preview in every framing."""
    tested = 0
    for seen in happy_journey().seen():
        token = token_of(seen.event)
        if token is not None and seen.raw.value is not None:
            shortest_framing = 5
            assert seen.raw.value.index(token.encode()) - 10 + shortest_framing > PREVIEW_BYTES
            tested += 1
    assert tested >= 8


def test_a_preview_of_text_that_looks_like_a_token_shows_nothing() -> None:
    """A foreign record may begin with anything."""
    assert preview(TOKEN.encode()) == "***"
    assert preview(b"webhooks/1/abc") == "***"
    assert preview(b"\x00hello") == "0068656c 6c6f |.hello|"


def test_a_header_named_as_a_credential_shows_nothing() -> None:
    """Whatever its value looks like, and however its name is written."""
    assert scrub_header("Interaction-Token", b"short") == "***"
    assert scrub_header("producer", b"moderator/0.1.0") == "moderator/0.1.0"
    assert scrub_header("empty", None) is None


@pytest.mark.parametrize(
    "text",
    [
        f"POST {ADDRESS}?wait=true",
        "https://example.com/interactions/12345/opaque/callback",
        f"token {TOKEN}",
        f"the token was {SECRET}!",
    ],
)
def test_text_loses_what_looks_like_a_token_and_the_event_s_own(text: str) -> None:
    """The place in an address, Discord's form, and the very token of the event at hand."""
    asked = request()
    event = replace(asked, reply_to=replace(asked.reply_to, interaction_token=SECRET))
    clean = scrub(text, event)
    assert "***" in clean
    assert not {TOKEN, SECRET, "opaque"} & set(clean.replace("/", " ").replace("!", " ").split())


def test_plain_text_stays_as_it_is() -> None:
    """Masking hides no more than it must."""
    assert scrub("404, url='https://discord.com/api/v10/channels/1/messages'") == (
        "404, url='https://discord.com/api/v10/channels/1/messages'"
    )


def _completed(journey: Journey) -> JobCompleted:
    return next(e for seen in journey.seen() if isinstance(e := seen.event, JobCompleted))


def test_a_record_without_an_event_has_no_token_to_look_for() -> None:
    """Tombstones and undecodable bytes are masked by form alone."""
    raw = Raw(topic="jobs", partition=0, offset=0, key=b"1", value=None, headers=(), appended_at=START)
    assert token_of(observe(raw, Codec()).event) is None
