"""Procedural pictures: they follow the prompt and the seed, and say what they are."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image, ImageChops, ImageStat, PngImagePlugin

from services.sandbox.comfyui.painting import label, paint
from services.sandbox.comfyui.palettes import PALETTES
from services.sandbox.comfyui.scene import plan_scene
from services.sandbox.comfyui.silhouettes import SILHOUETTES
from services.sandbox.comfyui.values import Picture, png_bytes


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures, 0..255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def test_the_same_prompt_and_seed_give_the_same_picture() -> None:
    """As with a model, a seed can be asked for again."""
    assert (
        paint("a lighthouse at dusk", 7, 160, 96).tobytes()
        == paint("a lighthouse at dusk", 7, 160, 96).tobytes()
    )


def test_another_seed_or_prompt_gives_a_clearly_different_picture() -> None:
    """Four images of one request are not four times the same."""
    dusk = paint("a lighthouse at dusk", 7, 160, 96)
    assert difference(dusk, paint("a lighthouse at dusk", 8, 160, 96)) > 5
    assert difference(dusk, paint("a cabin in the snow", 7, 160, 96)) > 25


@pytest.mark.parametrize(
    ("prompt", "palette"),
    [
        ("a lighthouse at dusk", "dusk"),
        ("castle, MIDNIGHT, stars", "night"),
        ("a fox in the autumn woods", "autumn"),
        ("sailing on the ocean", "sea"),
        ("cyberpunk robots", "neon"),
    ],
)
def test_words_choose_the_colours(prompt: str, palette: str) -> None:
    """The sky at the zenith is the palette's, but for the seed's small change."""
    zenith, wanted = plan_scene(prompt, 1).sky[0], PALETTES[palette].sky[0]
    assert all(abs(a - b) <= 14 for a, b in zip(zenith, wanted, strict=True))


@pytest.mark.parametrize("name", SILHOUETTES)
def test_every_silhouette_can_be_called_for(name: str) -> None:
    """A word brings it into the picture, which it changes."""
    words = {"trees": "pine", "skyline": "downtown"}.get(name, name)
    scene = plan_scene(f"{words} by day", 3)
    assert name in [subject for subject, _, _ in scene.subjects]
    assert paint(words, 3, 240, 160).size == (240, 160)


def test_a_picture_says_that_no_model_drew_it() -> None:
    """The label stands in the lower left corner wherever there is room for words."""
    plain = Image.new("RGB", (512, 512), "white")
    box = ImageChops.difference(plain, label(plain.copy())).getbbox()
    assert box is not None
    assert box[0] < 64
    assert box[1] > 400
    tiny = Image.new("RGB", (64, 64), "white")
    assert label(tiny.copy()).tobytes() == tiny.tobytes()


def test_denoise_decides_how_much_of_the_base_is_left() -> None:
    """Nothing of it changes at 0, more at 0.9 than at 0.3."""
    base = Image.radial_gradient("L").convert("RGB").resize((128, 64))
    left = [difference(base, paint("a cat", 1, 128, 64, base, denoise)) for denoise in (0.0, 0.3, 0.9)]
    assert left[0] == 0
    assert left[1] < left[2]


@pytest.mark.parametrize("size", [(8, 8), (16, 512), (512, 16), (2560, 64)])
def test_any_size_can_be_painted(size: tuple[int, int]) -> None:
    """Very small, very narrow and very wide ones too."""
    assert paint("a lighthouse in a forest city at night", 1, *size).size == size


def test_a_saved_png_embeds_the_whole_graph_as_comfyui_does() -> None:
    """Which is why a worker has to take it out; finished bytes get it spliced in."""
    graph = {"1": {"class_type": "KSampler", "inputs": {"text": "Dämmerung"}}}
    pixels, buffer = Image.new("RGB", (8, 8), "red"), io.BytesIO()
    pixels.save(buffer, "PNG")
    for picture in (Picture(pixels), Picture(pixels, ready=buffer.getvalue())):
        with Image.open(io.BytesIO(png_bytes(picture, graph))) as opened:
            assert isinstance(opened, PngImagePlugin.PngImageFile)
            opened.load()
            assert json.loads(str(opened.text["prompt"])) == graph
