"""Error codes: stable names, one plain sentence each."""

from __future__ import annotations

import re

import pytest

from services.contracts.errors import (
    DistilleryError,
    ErrorCode,
    EventTooLarge,
    PermanentError,
    RetryableError,
    SchemaRegistryError,
    UndecodableReason,
    UndecodableRecord,
    UnencodableEvent,
    error_info,
)
from services.contracts.events import ErrorInfo


@pytest.mark.parametrize("code", ErrorCode)
def test_a_code_is_in_snake_case_and_has_one_plain_sentence(code: ErrorCode) -> None:
    """A user reads the sentence, so it is short, ends, and shows no code, path or markup."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code.value)
    assert code.name == code.value.upper()
    assert re.fullmatch(r"[A-Z][A-Za-z ,;'-]{10,99}\.", code.sentence)
    assert isinstance(code.retryable, bool)


def test_no_two_codes_say_the_same() -> None:
    """Else the user could not tell what happened."""
    assert len({code.sentence for code in ErrorCode}) == len(ErrorCode)


def test_published_codes_keep_their_names() -> None:
    """Events hold them for as long as they are kept: codes are added, never renamed or removed."""
    published = """
        invalid_command unknown_workflow bad_input_image input_image_too_large queue_full quota_exceeded
        prompt_rejected user_banned guild_banned no_capable_worker missing_checkpoint node_error invalid_workflow
        out_of_memory model_unreadable disk_full interrupted comfyui_unreachable comfyui_died no_images worker_lost
        storage_unavailable deadline_exceeded attempts_exhausted cancelled expired internal_error
    """.split()
    assert set(published) <= {code.value for code in ErrorCode}


def test_an_error_says_what_its_code_says_unless_told_otherwise() -> None:
    """A stage may be more exact than the code's own sentence."""
    code = ErrorCode.OUT_OF_MEMORY
    assert error_info(code) == ErrorInfo(code="out_of_memory", message=code.sentence, retryable=True)
    assert error_info(code, "Too big.", retryable=False) == ErrorInfo(
        code="out_of_memory", message="Too big."
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UndecodableRecord(UndecodableReason.TOO_SHORT, "The record is empty"), PermanentError),
        (UnencodableEvent("x"), PermanentError),
        (EventTooLarge("JobCompleted", 300_000, 262_144), PermanentError),
        (SchemaRegistryError("x"), RetryableError),
    ],
)
def test_every_error_says_whether_trying_again_can_help(error: DistilleryError, kind: type) -> None:
    """The guarded edge decides by it."""
    assert isinstance(error, kind)


def test_a_poison_record_says_its_reason_in_words_and_as_a_label() -> None:
    """The sentence is for people, the reason for metrics."""
    error = UndecodableRecord(UndecodableReason.TOO_SHORT, "The record is empty")
    assert str(error) == "The record is empty (too_short)"
    assert error.reason == "too_short"


def test_too_large_an_event_says_what_to_do() -> None:
    """What was wrong, what was expected, what happens next."""
    assert str(EventTooLarge("JobCompleted", 300_000, 262_144)) == (
        "JobCompleted takes 300000 bytes and at most 262144 are allowed, so it was not sent; "
        "store the large part and send its key."
    )
