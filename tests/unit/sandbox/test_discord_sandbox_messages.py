"""Messages, files and faults of the loopback Discord, without a server."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from services.sandbox.discord.faults import Fault, Faults, Route
from services.sandbox.discord.files import FileStore, Upload, picture_size, real_type, safe_name
from services.sandbox.discord.messages import merged_attachments, pinged_by
from services.sandbox.discord.refusal import Refusal

OLD = [{"id": "101", "filename": "a.png"}, {"id": "102", "filename": "b.png"}]
NEW = {"0": Upload(filename="c.png", body=b"c"), "1": Upload(filename="d.png", body=b"d")}


def add(upload: Upload, description: str) -> dict[str, Any]:
    """Store nothing; show what would be."""
    return {"id": "new", "filename": upload.filename, "description": description}


def picture(kind: str, width: int = 5, height: int = 3) -> bytes:
    """A real picture file."""
    data = io.BytesIO()
    Image.new("RGB", (width, height)).save(data, kind)
    return data.getvalue()


@pytest.mark.parametrize(
    ("wanted", "uploads", "names"),
    [
        (None, {}, ["a.png", "b.png"]),
        (None, NEW, ["a.png", "b.png", "c.png", "d.png"]),
        ([], {}, []),
        ([{"id": "102"}], {}, ["b.png"]),
        ([{"id": 102}, {"id": 0}], NEW, ["b.png", "c.png"]),
        ([{"id": 1}, {"id": 0, "filename": "renamed.png"}], NEW, ["d.png", "renamed.png"]),
    ],
)
def test_attachments_follow_the_list_where_there_is_one(
    wanted: list[dict[str, Any]] | None, uploads: dict[str, Upload], names: list[str]
) -> None:
    """Without a list everything stays and new files follow; with one, only what it names."""
    merged = merged_attachments(OLD, wanted, uploads, add)
    assert [attachment["filename"] for attachment in merged] == names


@pytest.mark.parametrize("wanted", [[{"id": "999"}], [{"id": 0}] * 11, [{}]])
def test_an_unknown_or_an_eleventh_attachment_is_refused(wanted: list[dict[str, Any]]) -> None:
    """400/50035, and nothing is stored."""
    stored = []

    def store(upload: Upload, description: str) -> dict[str, Any]:
        stored.append(upload)
        return {}

    with pytest.raises(Refusal) as caught:
        merged_attachments([], wanted, NEW, store)
    assert caught.value.code == 50035
    assert stored == []


@pytest.mark.parametrize(
    ("allowed", "pinged"),
    [
        (None, ("1", "2", "everyone")),
        ({"parse": []}, ()),
        ({"parse": ["users"]}, ("1", "2")),
        ({"parse": ["everyone"]}, ("everyone",)),
        ({"parse": [], "users": ["2", "3"]}, ("2",)),
        ({"users": [1]}, ("1",)),
    ],
)
def test_only_allowed_mentions_ping(allowed: dict[str, Any] | None, pinged: tuple[str, ...]) -> None:
    """Whoever is named and allowed; everybody named where nothing is said."""
    assert pinged_by("<@1> <@!2> <@1> @everyone", allowed) == pinged


@pytest.mark.parametrize(
    ("body", "name", "content_type"),
    [
        (picture("PNG"), "x.txt", "image/png"),
        (picture("JPEG"), "x", "image/jpeg"),
        (picture("WEBP"), "x", "image/webp"),
        (picture("GIF"), "x", "image/gif"),
        (b"hello", "x.txt", "text/plain"),
        (b"<svg/>", "x.svg", "application/octet-stream"),
        (b"not a png", "x.png", "application/octet-stream"),
        (b"", "x", "application/octet-stream"),
    ],
)
def test_a_files_type_is_what_it_is(body: bytes, name: str, content_type: str) -> None:
    """The first bytes decide, then the name; what only calls itself an image is none."""
    assert real_type(body, name) == content_type


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_tell_their_size(kind: str) -> None:
    """Width and height, as Discord gives them."""
    body = picture(kind)
    assert picture_size(body, real_type(body, "x")) == (5, 3)


@pytest.mark.parametrize("body", [b"\x89PNG\r\n\x1a\nshort", b"\xff\xd8\xffbroken"])
def test_a_broken_picture_has_no_size(body: bytes) -> None:
    """It is kept all the same, as Discord keeps it."""
    assert picture_size(body, real_type(body, "x")) is None


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("my photo.png", "my_photo.png"),
        ("../../etc/passwd", "passwd"),
        ("..", "file"),
        ("C:\\a\\b.png", "b.png"),
    ],
)
def test_file_names_hold_no_paths(name: str, kept: str) -> None:
    """Folders go, odd characters become one underscore."""
    assert safe_name(name) == kept


def test_the_oldest_files_go_first() -> None:
    """The store keeps within its bytes, and always the newest file."""
    store = FileStore(kept_bytes=10)
    for number in range(3):
        store.add(str(number), Upload(filename="x", body=b"12345"), channel_id="1")
    assert [store.get(str(number)) is not None for number in range(3)] == [False, True, True]
    store.add("3", Upload(filename="x", body=b"1" * 99), channel_id="1")
    assert [store.get(str(number)) is not None for number in range(4)] == [False, False, False, True]


def test_a_fault_strikes_as_often_as_it_says() -> None:
    """Twice, then no more; others of its route come after it."""
    faults = Faults()
    faults.arm(Fault(route=Route.EDIT, status=429, times=2))
    faults.arm(Fault(route=Route.EDIT, status=500))
    taken = [faults.take(Route.EDIT) for _ in range(4)]
    assert [fault.status if fault else None for fault in taken] == [429, 429, 500, None]


def test_a_fault_passes_by_what_it_does_not_name() -> None:
    """Route and interaction must fit; a fault without a count strikes until disarmed."""
    faults = Faults()
    faults.arm(Fault(route=Route.EDIT, interaction_id="7", status=500, times=0))
    assert faults.take(Route.POST, "7") is None
    assert faults.take(Route.EDIT, "8") is None
    assert all(faults.take(Route.EDIT, "7") for _ in range(5))
    faults.disarm()
    assert faults.take(Route.EDIT, "7") is None
