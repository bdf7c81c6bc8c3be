"""The policy file: what it may say, what it matches, and what is refused with which words."""

from __future__ import annotations

import time

import pytest

from services.moderator.policy import PolicyError, parse_policy
from tests.unit.moderator.requests import SMALL, a_policy


def broken(prompt: str, text: str = SMALL) -> list[str]:
    """Categories of the rules that a prompt breaks."""
    return [rule.category for rule in a_policy(text).broken_rules(prompt)]


@pytest.mark.parametrize(
    ("prompt", "categories"),
    [
        ("a lighthouse", []),
        ("a forbidden door", ["bad"]),
        ("FORB1DDEN", ["bad"]),
        ("f o r b i d d e n", ["bad"]),
        ("unforbidden", []),
        ("a worse door", []),
        ("worse and forbidden", ["both", "bad"]),
        ("w0rse and f.o.r.b.i.d.d.e.n", ["both", "bad"]),
        ("the gray zone", ["bad"]),
        ("the grey zone", ["bad"]),
        ("the gr4y zone", ["bad"]),
        ("the grayzone", []),
        ("the forbidden city", []),
        ("the Forbidden City and a forbidden door", ["bad"]),
        ("forbidden forbidden city", ["bad"]),
        ("", []),
    ],
)
def test_a_rule_is_broken_when_each_of_its_lists_has_a_term_in_the_prompt(
    prompt: str, categories: list[str]
) -> None:
    """Words match whole, patterns match normalised words, innocent phrases count for nothing; gravest first."""
    assert broken(prompt) == categories


def test_lists_match_across_readings() -> None:
    """One word in leetspeak and the other spelled out: no single reading holds both as a whole."""
    assert "both" in broken("f0rbidden, w o r s e")


def test_rot13_hides_a_word_from_the_reader_and_not_from_the_rule() -> None:
    """``sbeovqqra`` is ``forbidden``."""
    text = SMALL.replace("words: [forbidden]", "rot13: [sbeovqqra]")
    assert broken("forbidden", text) == ["bad"]
    assert broken("sbeovqqra", text) == []


def test_terms_are_normalised_as_prompts_are() -> None:
    """An author may write accents, capitals, punctuation, another script or an emoji."""
    text = SMALL.replace("words: [forbidden]", 'words: ["Över-Ride", "порно", "🍆", r34]')
    for prompt in ("over ride", "OVER-RIDE", "ПОРНО", "an 🍆!", "r34", "r 34"):
        assert broken(prompt, text) == ["bad"], prompt


def test_the_version_changes_with_every_edit() -> None:
    """So an event's policy version says exactly by which text it was decided."""
    once, again = a_policy(), a_policy()
    edited = a_policy(SMALL.replace("worse", "worst"))
    assert once.version == again.version
    assert once.version.startswith("small+")
    assert edited.version != once.version


def test_a_plan_without_a_quota_of_its_own_has_the_default() -> None:
    """None means no limit, zero means none at all."""
    policy = a_policy()
    assert [policy.quota(plan) for plan in ("patron", "staff", "free", "")] == [5, None, 2, 2]


def test_ids_may_be_numbers_or_text() -> None:
    """YAML reads an unquoted Discord id as a number."""
    assert a_policy().banned_users == {"666"}
    assert a_policy().banned_guilds == {"777"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: small", "version: [", "small.yaml is not YAML"),
        (SMALL, "", "small.yaml: Expected `object`, got `null`"),
        (SMALL, "just text", "got `str`"),
        ("version: small", "", "missing required field `version`"),
        ("version: small", "version: 'two words'", "small.yaml: version: "),
        ("max_prompt_characters: 100", "max_prompt_characters: many", "small.yaml: max_prompt_characters: "),
        ("default_quota: 2", "default_quota: -1", "small.yaml: default_quota: "),
        ("default_quota: 2", "default_qouta: 2", "default_qouta"),
        ("patron: 5", "patron: five", r"small.yaml: quotas\[...\]: "),
        ("[666]", "[me]", "small.yaml: banned_users holds 'me'; expected a Discord id"),
        ("['777']", "[7.5]", r"small.yaml: banned_guilds\[0\]: "),
        ("[forbidden city]", "['...']", "small.yaml: innocent holds '...'"),
        (
            "words: [forbidden]",
            "words: [no]",
            r"small.yaml: terms.bad.words\[0\]: Expected `str`, got `bool`",
        ),
        ("words: [forbidden]", "word: [forbidden]", "small.yaml: terms.bad.*unknown field `word`"),
        ("words: [forbidden]", "words: ['!?']", "small.yaml: terms.bad.words holds '!\\?'"),
        ("words: [worse]", "", "small.yaml: terms.worse is empty"),
        (
            '" gr[ae]y zone "',
            '"gr(ay"',
            r"small.yaml: terms.bad.patterns\[0\] is not an RE2 expression: missing \)",
        ),
        ('" gr[ae]y zone "', r'"(a)\\1"', r"small.yaml: terms.bad.patterns\[0\] is not an RE2 expression"),
        ('" gr[ae]y zone "', '"x*"', r"small.yaml: terms.bad.patterns\[0\] matches any prompt"),
        ("all_of: [bad]", "all_of: []", r"small.yaml: rules\[1\].all_of: "),
        ("all_of: [bad]", "all_of: [bda]", r"small.yaml: rules\[1\].all_of names \['bda'\]"),
        ("all_of: [bad, worse]", "all_of: [bad]", "small.yaml: terms.worse is used by no rule"),
        ("message: Not together.", "message: ''", r"small.yaml: rules\[0\].message: "),
        ("category: both", "category: Both Kinds", r"small.yaml: rules\[0\].category: "),
    ],
)
def test_a_wrong_policy_is_refused_with_its_file_and_field(old: str, new: str, message: str) -> None:
    """A policy that half applies is worse than a stage that says what to correct and does not start."""
    text = SMALL.replace(old, new) if old in SMALL else SMALL.replace(old.replace("'", '"'), new)
    assert text != SMALL
    with pytest.raises(PolicyError, match=message):
        parse_policy(text, "small.yaml")


HOSTILE = {
    "a pattern's beginning for ever": "gr" * 2000,
    "an innocent phrase for ever": "forbidden " * 400,
    "nested quantifiers": "a" * 3999 + "!",
    "leetspeak": "f0rb1dd3n!" * 400,
    "spelled out": "f o r b i d d e n. " * 210,
    "everything": "ａ.1@ааа " * 500,
}


@pytest.mark.parametrize("prompt", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_prompt_of_4000_characters_takes_milliseconds(prompt: str) -> None:
    """Even under a pattern that would keep Python's own engine busy for longer than the universe has been."""
    policy = a_policy(SMALL.replace('" gr[ae]y zone "', '" (?:(?:a+)+)+b", "(?:g|r|gr)*z"'))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        policy.broken_rules(prompt)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.05
