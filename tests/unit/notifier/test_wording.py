"""What users read."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import ErrorCode
from services.contracts.events import JobProgressed, Phase, Reason
from services.notifier import wording
from services.notifier.policy import CONTENT_LIMIT
from tests.unit.notifier.world import progressed

_UNESCAPED = re.compile(r"(?<!\\)[\\*_~|`<>@#\[\]]")


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (progressed(Phase.QUEUED, queue_place=3), "In the queue, place 3: **cat**"),
        (progressed(Phase.QUEUED), "In the queue: **cat**"),
        (progressed(Phase.QUEUED, note="A GPU is starting."), "In the queue: **cat**\n-# A GPU is starting."),
        (
            progressed(Phase.QUEUED, queue_place=1, eta_seconds=40.2),
            "In the queue, place 1, about 40 s: **cat**",
        ),
        (
            progressed(Phase.QUEUED, queue_place=9, eta_seconds=290.0),
            "In the queue, place 9, about 5 min: **cat**",
        ),
        (progressed(Phase.QUEUED, queue_place=2, attempt=1), "Back in the queue, place 2: **cat**"),
        (progressed(Phase.STARTING), "Starting: **cat**"),
        (progressed(Phase.RUNNING, 34), "Drawing: **cat**\n███░░░░░░░ 34 %"),
        (
            progressed(Phase.RUNNING, 34, eta_seconds=18.0),
            "Drawing: **cat**\n███░░░░░░░ 34 %, about 20 s",
        ),
        (progressed(Phase.RUNNING, 250), "Drawing: **cat**\n██████████ 100 %"),
        (progressed(Phase.RUNNING, 0, attempt=2), "Drawing again (attempt 2): **cat**\n░░░░░░░░░░ 0 %"),
        (progressed(Phase.SAVING, 100), "Saving: **cat**\n██████████ 100 %"),
    ],
)
def test_progress_reads_as_a_plain_line(event: JobProgressed, text: str) -> None:
    """Each phase has its wording, with place, percent and attempt where they mean something."""
    assert wording.progress(replace(event, command_string="cat")) == text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "about 5 s"), (7.0, "about 5 s"), (43.0, "about 45 s"), (54.9, "about 55 s"), (55.0, "about 1 min"),
        (89.0, "about 1 min"), (91.0, "about 2 min"), (119.0, "about 2 min"), (840.0, "about 14 min"),
        (7200.0, "about 2 h"),
    ],
)  # fmt: skip
def test_an_estimate_is_no_finer_than_it_deserves(seconds: float, said: str) -> None:
    """A number that jumps by the second promises what nobody knows."""
    event = progressed(Phase.QUEUED, queue_place=3, eta_seconds=seconds)
    assert wording.progress(replace(event, command_string="cat")) == f"In the queue, place 3, {said}: **cat**"


@pytest.mark.parametrize("seconds", [None, 0.0, -3.0])
def test_without_an_estimate_none_is_shown(seconds: float | None) -> None:
    """Nor one that has passed."""
    event = progressed(Phase.QUEUED, queue_place=3, eta_seconds=seconds)
    assert wording.progress(replace(event, command_string="cat")) == "In the queue, place 3: **cat**"


def test_a_result_names_its_user_command_and_time() -> None:
    """The line over the images."""
    assert wording.drawn("42", "cat --ar 1:1", 12.34) == "<@42> **cat --ar 1:1** (12.3 seconds)"


def test_notes_stand_small_below_the_line() -> None:
    """What was changed about a request is said with its result."""
    text = wording.drawn("42", "cat", 1.0, ["ratio 27:18 became 3:2"])
    assert text == "<@42> **cat** (1.0 seconds)\n-# ratio 27:18 became 3:2"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_failure_is_its_codes_sentence_and_the_code(code: ErrorCode) -> None:
    """People can read it and search for it."""
    assert wording.failed("42", "cat", code.value) == f"<@42> **cat**\n{code.sentence} [{code.value}]"


def test_a_request_taken_back_says_so_in_a_word() -> None:
    """Nothing failed, so there is nothing to explain."""
    assert wording.cancelled("42", "cat") == "<@42> **cat**\nCancelled. [cancelled]"


@pytest.mark.parametrize("code", ["Traceback (most recent call last):", "", "null", "x" * 100, "a b"])
def test_what_is_no_code_is_an_internal_error(code: str) -> None:
    """F4: a traceback in the place of a code never reaches a user."""
    text = wording.failed("42", "cat", code)
    assert ErrorCode.INTERNAL_ERROR.sentence in text
    assert "Traceback" not in text


def test_a_code_of_a_newer_version_is_shown_with_the_general_sentence() -> None:
    """A mixed fleet must not hide what a newer worker said."""
    assert wording.failed("42", "cat", "gpu_on_fire").endswith("on our side. [gpu_on_fire]")


def test_a_rejection_gives_the_moderators_sentence_but_not_the_prompt() -> None:
    """The message may stand in a public channel, where the bot must not repeat what it refused."""
    reason = Reason(code="prompt_rejected", category="both", message="Not *together*.")
    assert wording.rejected("42", [reason]) == r"<@42> Not \*together\*. [prompt_rejected]"


def test_a_rejection_without_a_sentence_has_its_codes() -> None:
    """A policy may give a category only."""
    text = wording.rejected("42", [Reason(code="quota_exceeded", category="quota", message="")])
    assert text == f"<@42> {ErrorCode.QUOTA_EXCEEDED.sentence} [quota_exceeded]"


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("**bold** _it_ ~~no~~ ||spoiler||", r"\*\*bold\*\* \_it\_ \~\~no\~\~ \|\|spoiler\|\|"),
        ("`code` C:\\", r"\`code\` C:" + "\\\\"),
        ("@everyone <@123> <#5>", r"\@everyone \<\@123\> \<\#5\>"),
        ("see https://a.example", r"see https\://a.example"),
        ("[here](https://a.example)", r"\[here\](https\://a.example)"),
        (":skull: 16:9 (sky:1.2)", r"\:skull: 16:9 (sky:1.2)"),
        ("one\n# two\n> three", r"one \# two \> three"),
    ],
)
def test_what_a_user_typed_is_shown_as_typed(typed: str, sent: str) -> None:
    """No markdown, mention, emoji, link or new line comes out of a prompt."""
    assert wording.escape(typed) == sent


@given(st.text(max_size=5000))
def test_any_command_fits_a_message_and_stays_inert(command: str) -> None:
    """Cut, if at all, so that no escape is broken and the bold ends."""
    text = wording.drawn("42", command, 1.0)
    assert wording.length(text) <= CONTENT_LIMIT
    shown = text.removeprefix("<@42> ").removesuffix(" (1.0 seconds)")
    inner = shown.removeprefix("**").removesuffix("**")
    assert not _UNESCAPED.search(re.sub(r"\\[^0-9A-Za-z\s]", "", inner))


@pytest.mark.parametrize(("text", "units"), [("a", 1), ("é", 1), ("😀", 2), ("漢", 1)])
def test_length_counts_as_clients_do(text: str, units: int) -> None:
    """In UTF-16 units, so that no way of counting finds more."""
    assert wording.length(text) == units == len(text.encode("utf-16-le")) // 2


@given(st.integers(0, 3000), st.sampled_from(["a", "*", "😀", "e\u0301"]))
def test_a_text_is_cut_to_its_limit(limit: int, letter: str) -> None:
    """Counted as clients do, an emoji as two."""
    clipped = wording.clip(letter * 1500, limit)
    assert wording.length(clipped) <= max(0, limit)
    assert clipped.endswith("…") or clipped == wording.escape(letter * 1500) or limit == 0


def test_many_notes_leave_room_for_the_command() -> None:
    """Notes are cut before the command is."""
    text = wording.drawn("42", "cat", 1.0, ["note " * 30] * 50)
    assert "**cat**" in text
    assert wording.length(text) <= CONTENT_LIMIT


def test_links_are_shown_bare_and_without_a_preview() -> None:
    """Where images are too large for Discord."""
    text = wording.links(["https://s.example/1", "https://s.example/2"], ["i/1.png", "i/2.png"])
    assert text.endswith("they open here:\n<https://s.example/1>\n<https://s.example/2>")


def test_links_that_do_not_fit_are_replaced_by_where_the_images_are_kept() -> None:
    """Signed links can be longer than a message."""
    urls = [f"https://s.example/{n}?{'x' * 900}" for n in range(4)]
    text = wording.links(urls, [f"images/r/{n}.png" for n in range(4)])
    assert text.count("<https://") == 1
    assert "All 4: they are kept in the image store under images/r." in text


def test_links_and_notes_leave_room_for_the_command() -> None:
    """Links come first, then some of the command, then notes."""
    urls = [f"https://s.example/{n}?{'x' * 400}" for n in range(4)]
    text = wording.drawn("42", "cat " * 500, 1.0, ["note " * 30] * 5, wording.links(urls, []))
    assert wording.length(text) <= CONTENT_LIMIT
    assert all(f"<{url}>" in text for url in urls)
    assert f"**{'cat ' * 20}" in text


def test_a_store_without_links_says_where_the_images_are() -> None:
    """A folder has no address that a user could open."""
    text = wording.links([None, None], ["images/r/0.png", "images/r/1.png"])
    assert text == "The images are too large for Discord; they are kept in the image store under images/r."


def test_the_images_of_a_split_request_are_where_all_its_parts_are() -> None:
    """Not in the folder of its first part alone."""
    text = wording.links([None, None], ["images/r/1-of-2/0.png", "images/r/2-of-2/0.png"])
    assert text.endswith("under images/r.")
