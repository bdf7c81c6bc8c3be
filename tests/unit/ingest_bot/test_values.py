"""A flag's text becomes a typed value, or a sentence that says what was expected."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest_bot.refusals import CommandError
from services.ingest_bot.templates.load import load_catalogue
from services.ingest_bot.templates.manifest import MAX_SEED
from services.ingest_bot.templates.ratios import nearest_ratio, parse_ratio
from services.ingest_bot.templates.values import default_value, expected, read_value

WORKFLOWS = load_catalogue().workflows
SD15 = WORKFLOWS["sd15"].manifest.parameters
I2I = WORKFLOWS["image-to-image"].manifest.parameters

#: Flag, text, canonical text, value, note.
READ: list[tuple[str, str, str, object, str | None]] = [
    ("cfg", "7", "7", 7.0, None),
    ("cfg", "7.50", "7.5", 7.5, None),
    ("cfg", "7,5", "7.5", 7.5, None),
    ("cfg", "+7.", "7", 7.0, None),
    ("cfg", "6.03", "6", 6.0, "cfg 6.03 became 6"),
    ("cfg", "6.15", "6.2", 6.2, "cfg 6.15 became 6.2"),
    ("imagedenoise", ".5", "0.5", 0.5, None),
    ("imagedenoise", "0.333", "0.33", 0.33, "imagedenoise 0.333 became 0.33"),
    ("steps", "030", "30", 30, None),
    ("images", "2", "2", 2, None),
    ("images", "2,", "2", 2, None),
    ("seed", "0", "0", 0, None),
    ("seed", "0123", "123", 123, None),
    ("seed", str(MAX_SEED), str(MAX_SEED), MAX_SEED, None),
    ("model", "SD15", "sd15", "sd15", None),
    ("sampler", "Euler", "euler", "euler", None),
    ("ar", "16:9", "16:9", "16:9", None),
    ("ar", "16 x 9", "16:9", "16:9", None),
    ("ar", "16/9", "16:9", "16:9", None),
    ("ar", "16×9", "16:9", "16:9", None),
    ("ar", "27:18", "3:2", "3:2", "ratio 27:18 became 3:2"),
    ("ar", "1920x1080", "16:9", "16:9", "ratio 1920:1080 became 16:9"),
    ("ar", "1.85:1", "16:9", "16:9", "ratio 1.85:1 became 16:9"),
    ("ar", "100:1", "2:1", "2:1", "ratio 100:1 became 2:1"),
    ("ar", "1:100", "1:2", "1:2", "ratio 1:100 became 1:2"),
    ("neg", "", "", "", None),
    ("neg", "Blurry, LOW", "Blurry, LOW", "Blurry, LOW", None),
]


@pytest.mark.parametrize(("name", "written", "text", "value", "note"), READ)
def test_a_flags_text_is_read_by_its_type(
    name: str, written: str, text: str, value: object, note: str | None
) -> None:
    """The canonical text is the shortest usual one; what was snapped is noted."""
    read = read_value(name, I2I[name], written)
    assert (read.text, read.value, read.note) == (text, value, note)
    assert type(read.value) is type(value)
    again = read_value(name, I2I[name], read.text)
    assert (again.text, again.value, again.note) == (text, value, None)


#: Flag, text or none, what the refusal says.
REFUSED: list[tuple[str, str | None, str]] = [
    ("cfg", None, "`--cfg` needs a value after it: a number from 1 to 20."),
    ("cfg", "", "`--cfg` needs a value after it"),
    ("cfg", "high", "`--cfg` takes a number from 1 to 20, not `high`."),
    ("cfg", "0.9", "not `0.9`"),
    ("cfg", "-3", "not `-3`"),
    ("cfg", "−3", "not `-3`"),
    ("cfg", "nan", "not `nan`"),
    ("cfg", "inf", "not `inf`"),
    ("cfg", "1e1", "not `1e1`"),
    ("cfg", "20.04", "not `20.04`"),
    ("cfg", "7 in the snow", "not `7 in the snow`"),
    ("steps", "3.5", "`--steps` takes a whole number from 1 to 60, not `3.5`."),
    ("steps", "9" * 30, "not `999"),
    ("images", "0", "`--images` takes a whole number from 1 to 4, not `0`."),
    ("images", "5", "not `5`"),
    ("images", "1_0", "not `1_0`"),
    ("images", "٣", "not `٣`"),
    ("seed", "-1", f"`--seed` takes a whole number from 0 to {MAX_SEED}, not `-1`; leave it out for a random one."),
    ("seed", str(MAX_SEED + 1), "leave it out for a random one"),
    ("seed", "random", "`--seed` takes a whole number"),
    ("sampler", "eulr", "`--sampler` takes one of legacy, euler, dpmpp, not `eulr`; did you mean euler?"),
    ("sampler", "xyz", "not `xyz`."),
    ("ar", "wide", "`--ar` takes width:height, such as 16:9, not `wide`; put the prompt before the flags."),
    ("ar", "16:0", "not `16:0`"),
    ("ar", "0:9", "not `0:9`"),
    ("ar", "-16:9", "not `-16:9`"),
    ("ar", "16:9:1", "not `16:9:1`"),
    ("ar", "16:9 in the snow", "put the prompt before the flags"),
    ("ar", "1" * 400 + ":1", "`--ar` takes width:height"),
    ("raw", "yes", "`--raw` takes no value, but `yes` follows it; put the prompt before the flags."),
    ("image", "https://example.com/a.png",
     "`--image` takes no link; attach the image with the command's option image."),
    ("neg", None, "`--neg` needs a value after it: text."),
    ("neg", "x" * 1001, "The text of `--neg` has 1001 characters, and at most 1000 are allowed; shorten it."),
    ("prompt", "x" * 2001, "The prompt has 2001 characters, and at most 2000 are allowed; shorten it."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "written", "said"), REFUSED)
def test_a_value_that_does_not_fit_is_refused_with_what_was_expected(
    name: str, written: str | None, said: str
) -> None:
    """One sentence: the flag, what it takes, what was found."""
    with pytest.raises(CommandError) as caught:
        read_value(name, I2I[name], written)
    assert said in caught.value.message
    assert len(caught.value.message) < 250


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_every_default_is_read_back_as_itself(name: str) -> None:
    """So a flag typed with its default value is left out of the canonical form."""
    for parameter_name, parameter in WORKFLOWS[name].manifest.parameters.items():
        default = default_value(parameter)
        assert expected(parameter)
        if default.text:
            read = read_value(parameter_name, parameter, default.text)
            assert (read.text, read.value) == (default.text, default.value)


@given(st.floats(min_value=1, max_value=20))
def test_any_number_in_range_snaps_within_half_a_step(number: float) -> None:
    """Snapping moves a value by at most half a step and never out of range."""
    read = read_value("cfg", SD15["cfg"], f"{number:.9f}")
    assert isinstance(read.value, float)
    assert abs(read.value - number) <= 0.05 + 1e-6
    assert 1 <= read.value <= 20


@given(st.integers(1, 99_999), st.integers(1, 99_999))
def test_a_portrait_snaps_to_the_mirrored_landscape(width: int, height: int) -> None:
    """Distance is measured alike for both, so that turning the picture turns the answer."""
    names = ["1:1", "2:1", "3:2", "16:9", "1:2", "2:3", "9:16"]
    across, down = nearest_ratio(width, height, names).split(":")
    down_turned, across_turned = nearest_ratio(height, width, names).split(":")
    distances = [
        abs(math.log(int(a) / int(b) / (width / height)))
        for a, b in ((across, down), (across_turned, down_turned))
    ]
    assert distances[0] == pytest.approx(distances[1])


@pytest.mark.parametrize("text", ["16:9", "16 : 9", "1920X1080", "2,35:1", "21/9"])
def test_usual_ways_to_write_a_ratio_are_read(text: str) -> None:
    """Colon, x, slash and their relatives; a comma is a decimal one."""
    assert parse_ratio(text) is not None
