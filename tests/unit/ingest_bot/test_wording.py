"""What the bot says fits into a message and shows a user's text as typed."""

from __future__ import annotations

import pytest

from services.ingest_bot import wording
from services.ingest_bot.decide import Draft, draft
from services.ingest_bot.policy import Policy
from tests.unit.ingest_bot.conversations import CATALOGUE, serve


def _holding(prompt: str) -> str:
    drafted = draft(serve(prompt), CATALOGUE, Policy(), random_seed=1)
    assert isinstance(drafted, Draft)
    return wording.holding(drafted)


def test_a_users_markdown_is_shown_as_typed() -> None:
    """No spoiler, link, mention or heading comes out of a prompt."""
    assert _holding("**b** [a](b) <@1> ||x|| `c` # d") == (
        r"Queueing: **\*\*b\*\* \[a\](b) \<@1\> \|\|x\|\| \`c\` \# d**"
    )


@pytest.mark.parametrize(
    "prompt", ["x" * 2000, "*" * 2000, "a —seeed —sed —imges 1" + "*" * 1900, "\\" * 2000]
)
def test_the_longest_command_fits_into_a_message(prompt: str) -> None:
    """Cut, with the bold closed and the notes kept."""
    text = _holding(prompt)
    assert len(text) <= wording.LIMIT
    assert "…**" in text
    body = text.partition("…**")[0]
    assert (len(body) - len(body.rstrip("\\"))) % 2 == 0


def test_the_help_lists_every_workflow_and_flag_in_one_message() -> None:
    """It is made of the manifests, so it cannot fall behind them."""
    text = wording.help_text(CATALOGUE)
    assert len(text) <= wording.LIMIT
    assert not text.endswith("…")
    assert all(f"--workflow {name}" in text for name in CATALOGUE.workflows)
    assert all(f"`--{name}`" in text for name in CATALOGUE.known - CATALOGUE.images - {"workflow"})
    assert "option `image`" in text
    assert "`--cfg` How closely to follow the prompt; 3 to 12 work best: a number from 1 to 20; 6" in text
