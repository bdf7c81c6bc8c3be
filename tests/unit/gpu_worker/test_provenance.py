"""Provenance in the PNG: what it says, what it must never say, and that pixels are left alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from PIL import Image, PngImagePlugin

from services import __version__
from services.contracts.events import InputImage, JobSpec
from services.gpu_worker.provenance import ProvenanceError, read_texts, stamp

GRAPH = {
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a secret", "image": "distillery/user-42.png"}}
}


def spec(**changes: object) -> JobSpec:
    """A job as ingest_bot makes it."""
    values: dict[str, object] = {
        "workflow": "sd15",
        "workflow_version": "3",
        "graph": "{}",
        "bindings": {},
        "seed": 41,
        "images": 2,
        "parameters": {
            "prompt": "a lighthouse",
            "neg": "fog",
            "steps": "20",
            "cfg": "6",
            "ar": "16:9",
            "model": "sd15",
        },
        "checkpoints": ["sd15/v1-5.safetensors"],
    }
    return JobSpec(**(values | changes))  # type: ignore[arg-type]  # a test names fields


def comfyui_png() -> bytes:
    """A PNG as ComfyUI saves it: the graph in ``prompt``, the page's layout in ``workflow``."""
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", json.dumps(GRAPH))
    info.add_text("workflow", json.dumps({"nodes": ["secret layout"]}))
    info.add_itxt("extra", "a sécret", zip=True)
    buffer = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(buffer, "PNG", pnginfo=info, exif=b"Exif\0\0secret")
    return buffer.getvalue()


def test_f12_no_trace_of_the_graph_or_its_inputs_is_left_in_a_published_image() -> None:
    """The original published the user's id inside the graph: every text that ComfyUI wrote goes."""
    stamped = stamp(comfyui_png(), spec(), seed=41)
    for trace in (b"secret", b"CLIPTextEncode", b"user-42", b"eXIf", b"zTXt"):
        assert trace not in stamped


def test_f12_provenance_names_the_work_and_nobody() -> None:
    """Exactly these facts are published; none of them tells who asked, in which request, or with which file."""
    inputs = [InputImage(parameter="image", object_key="inputs/42/me.png", content_type="image/png", bytes=9)]
    job = spec(inputs=inputs, parameters={"prompt": "a lighthouse", "image": "me at home.png"})
    texts = read_texts(stamp(comfyui_png(), job, seed=42))
    assert json.loads(texts["distillery"]) == {
        "workflow": "sd15",
        "workflow_version": "3",
        "parameters": {"prompt": "a lighthouse"},
        "seed": 42,
        "app_version": __version__,
    }
    assert "me" not in texts["parameters"].replace("lighthouse", "").split()
    assert set(texts) == {"parameters", "distillery"}


def test_pixels_survive_stamping_bit_for_bit() -> None:
    """Stamping edits chunks: no pixel is decoded, and the image data stay the same bytes."""
    before, after = comfyui_png(), stamp(comfyui_png(), spec(), seed=1)
    with Image.open(io.BytesIO(before)) as one, Image.open(io.BytesIO(after)) as other:
        assert one.tobytes() == other.tobytes()
    start = before.index(b"IDAT")
    assert before[start:] in after


def test_image_viewers_find_the_web_uis_parameters() -> None:
    """The ``parameters`` text has the web UI's three parts; values that hold its separators stand in quotes."""
    with Image.open(io.BytesIO(stamp(comfyui_png(), spec(), seed=41))) as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        lines = str(image.text["parameters"]).splitlines()
    assert lines == [
        "a lighthouse",
        "Negative prompt: fog",
        f'Steps: 20, CFG scale: 6, Seed: 41, Model: v1-5, Ar: "16:9", Version: distillery {__version__}',
    ]


def test_a_size_is_written_as_the_web_ui_writes_it() -> None:
    """Width and height become one ``Size``."""
    job = spec(parameters={"prompt": "x", "width": "1024", "height": "576"})
    assert "Size: 1024x576" in read_texts(stamp(comfyui_png(), job, seed=1))["parameters"]


@pytest.mark.parametrize("prompt", ["Leuchtturm bei Dämmerung", "黄昏的灯塔", "🗼 at dusk", "a\0b"])
def test_prompts_of_any_script_can_be_read_back(prompt: str) -> None:
    """Text beyond Latin-1 is written as UTF-8; only NUL, which PNG text cannot hold, is dropped."""
    stamped = stamp(comfyui_png(), spec(parameters={"prompt": prompt}), seed=1)
    with Image.open(io.BytesIO(stamped)) as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        image.load()
        assert str(image.text["parameters"]).splitlines()[0] == prompt.replace("\0", "")
    assert read_texts(stamped)["parameters"].startswith(prompt.replace("\0", ""))


def test_stamping_a_stamped_image_replaces_its_provenance() -> None:
    """Stamping is idempotent, so a retried job's image does not grow."""
    once = stamp(comfyui_png(), spec(), seed=1)
    assert stamp(once, spec(), seed=1) == once


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda png: b"\xff\xd8\xff\xe0" + png, "not a PNG"),
        (lambda png: png[:-20], "cut short"),
        (lambda png: png[:9], "cut short"),
        (lambda png: png[:16] + bytes([png[16] ^ 1]) + png[17:], "checksum"),
        (lambda png: png[:8] + png[-12:], "header"),
        (lambda png: b"", "not a PNG"),
    ],
)
def test_what_is_no_whole_png_is_refused(damage: Callable[[bytes], bytes], complaint: str) -> None:
    """A traceback, a JPEG or half a download is never published as an image."""
    with pytest.raises(ProvenanceError, match=complaint):
        stamp(damage(comfyui_png()), spec(), seed=1)


def test_bytes_behind_the_images_end_are_left_out() -> None:
    """Nothing can be smuggled behind the last chunk."""
    assert b"stowaway" not in stamp(comfyui_png() + b"stowaway", spec(), seed=1)
