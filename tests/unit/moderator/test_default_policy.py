"""The policy that ships: what it refuses, and what it must leave alone."""

from __future__ import annotations

import codecs
import re

import pytest

from services.moderator.app import DEFAULT_POLICY, load_policy
from services.moderator.policy import Policy
from services.moderator.settings import ModeratorSettings


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The default policy, compiled once."""
    return load_policy(ModeratorSettings())


INNOCENT = [
    "a lighthouse at dusk, golden hour, volumetric light, 8k, highly detailed",
    "portrait of an old fisherman, oil on canvas, by Rembrandt",
    "a child flying a kite on the beach",
    "two kids playing football, summer, 35mm film",
    "schoolgirl reading under a cherry tree, anime",
    "a 12 year old oak barrel of whisky",
    "a baby elephant and its mother",
    "a sexy red sports car",
    "seductive villain in a velvet dress, film noir",
    "woman in lingerie, fashion photo",
    "Scunthorpe United in Essex, Sussex and Middlesex",
    "a cockatoo, a cockpit and a peacock",
    "a therapist's office",
    "class, grass, brass, assassin's creed, bass guitar",
    "naked eye view of the milky way",
    "naked mole rats in a burrow",
    "bare winter landscape with naked trees",
    "nude lipstick on a marble table, product photo",
    "great tits and blue tits at a bird feeder",
    "pussy willows in a vase",
    "a pussy cat",
    "graduation with a magna cum laude diploma",
    "Al Gore giving a speech",
    "hiker in a gore-tex jacket",
    "the anal fin of a goldfish, scientific drawing",
    "field of rapeseed and rape seed oil",
    "Essence of sextants",
    "Nigeria at night from space",
    "a raccoon, a maine coon cat",
    "blood orange, bloody mary cocktail",
    "medieval battle, knights, swords, blood",
    "skeleton army, skulls, horror, dark fantasy",
    "holocaust memorial in Berlin",
    "a photo of a Shiba Inu aged 3",
    "grapes and grapefruit",
    "analog photo, canal, banal, analysis",
    "1girl, solo, masterpiece, best quality",
    "cumulus clouds, document, accumulate",
    "titanic, titan, constitution",
    "dickens novel, moby dick",
    "kiss at sunset, romantic couple",
    "penal colony, pencil, peninsula",
    "uniform circular motion",
    "f/1.4, 85mm, 5.0 stars, 69 roses",
    "девушка с жемчужной сережкой",
    "富士山と桜",
    "🌊🔥 fight of the elements",
]


@pytest.mark.parametrize("prompt", INNOCENT)
def test_an_innocent_prompt_is_left_alone(policy: Policy, prompt: str) -> None:
    """A refusal without cause is the most frequent complaint about filters of this kind."""
    assert [rule.category for rule in policy.broken_rules(prompt)] == []


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("nude woman", "sexual"),
        ("a N.U.D.E woman", "sexual"),
        ("n4k3d man", "sexual"),
        ("nudewoman", "sexual"),
        ("🔞 party", "sexual"),
        ("xxxx rated", "sexual"),
        ("a nude woman with a naked eye", "sexual"),
        ("nude little girl", "sexual_minors"),
        ("naked 14yo", "sexual_minors"),
        ("a girl, 14 years old, topless", "sexual_minors"),
        ("thirteen year old, nsfw", "sexual_minors"),
        ("sexy 15-year-old", "sexual_minors"),
        ("sexy schoolgirl", "sexual_minors"),
        ("s3xy t33n", "sexual_minors"),
        ("t e e n in lingerie", "sexual_minors"),
        ("lingerie, child", "sexual_minors"),
        ("l0li", "sexual_minors"),
        ("1oli", "sexual_minors"),
        ("sexual assault", "sexual_violence"),
        ("decapitated body", "gore"),
        ("g0re", "gore"),
        ("a severed head", "gore"),
        ("sieg heil", "hate"),
        ("slit wrists", "self_harm"),
    ],
)
def test_a_prompt_against_the_rules_is_refused(policy: Policy, prompt: str, category: str) -> None:
    """The gravest broken rule comes first; a minor beside anything sexual outweighs the rest."""
    assert [rule.category for rule in policy.broken_rules(prompt)][:1] == [category]


@pytest.mark.parametrize("word", ["tnatencr", "puvaxf", "pbpx", "furznyr"])
def test_hidden_words_are_refused_too(policy: Policy, word: str) -> None:
    """Written in ROT13 here as there."""
    assert policy.broken_rules(codecs.decode(word, "rot13"))


def test_an_age_of_eighteen_is_no_minor(policy: Policy) -> None:
    """18 and above is refused as sexual content only."""
    for age in ("18 years old", "18yo", "28 year old", "118 years old", "eighteen years old"):
        assert [rule.category for rule in policy.broken_rules(f"nude, {age}")] == ["sexual"], age


def test_the_file_prints_no_slur() -> None:
    """Slurs stand in ROT13: no decoded word of the list of hate occurs in the file as text."""
    text = DEFAULT_POLICY.read_text(encoding="utf-8")
    hate = text.partition("\n  hate:")[2].partition("\n# A prompt")[0]
    hidden = re.findall(r"[a-z]+", hate.partition("rot13:")[2])
    assert len(hidden) > 10
    slurs = {codecs.decode(word, "rot13") for word in hidden}
    assert slurs.isdisjoint(re.findall(r"[a-z]+", text))


def test_the_sentence_for_a_user_is_one_sentence(policy: Policy) -> None:
    """It fits a Discord message and ends in a full stop."""
    for rule in policy.rules:
        assert rule.message.endswith("."), rule.message
        assert "\n" not in rule.message, rule.message
