"""Final messages: which way they go, and how images are made to fit."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import pytest
from PIL import Image

from services.chassis.object_store import ObjectStoreDenied, ObjectStoreUnreachable
from services.chassis.retry import RetryLater
from services.contracts.errors import ErrorCode
from services.contracts.events import DeliveryMethod, Outcome
from services.notifier.pictures import NotAPicture, extension_of, reencode
from services.notifier.policy import Encoding
from services.notifier.ports import DiscordBusy, FilesTooLarge, InteractionOver, OriginalUnknown
from tests.fakes.object_store import FakeObjectStore
from tests.unit.notifier.world import NOON, REQUEST, USER, World, a_png, a_reply, an_image, completed, noise

TOKEN = f"token-{REQUEST}"
EXPIRED = NOON + timedelta(minutes=16)


async def test_a_result_is_an_edit_of_the_original_with_its_images(world: World) -> None:
    """Under names that say the seed and nothing of the user."""
    await world.handle(completed())
    shown = world.discord.originals[TOKEN]
    assert shown.content == "<@42> **a lighthouse --ar 16:9** (12.3 seconds)"
    assert list(shown.files) == [f"distillery-{n + 1}-seed-{100 + n}.png" for n in range(4)]
    assert world.outbox.sent[0].method is DeliveryMethod.EDIT
    assert world.outbox.sent[0].images == 4


async def test_past_its_token_a_result_is_posted_to_the_channel(world: World) -> None:
    """Once, by the request's nonce, and only its requester is notified."""
    world.now = EXPIRED
    await world.handle(completed())
    post = world.discord.posts[REQUEST]
    assert post.notified == (USER,)
    assert len(post.files) == 4
    assert world.outbox.sent[0].method is DeliveryMethod.CHANNEL_MESSAGE
    assert world.discord.edits == []


@pytest.mark.parametrize(
    "error",
    [InteractionOver("expired", "4xx"), OriginalUnknown("deleted", "404")],
    ids=["expired", "deleted"],
)
async def test_an_edit_that_is_not_possible_becomes_a_channel_message(
    world: World, error: InteractionOver | OriginalUnknown
) -> None:
    """The event's clock is not Discord's, and messages can be deleted."""
    world.discord.fail_next = [error]
    await world.handle(completed())
    assert world.outbox.sent[0].method is DeliveryMethod.CHANNEL_MESSAGE


async def test_an_edit_waits_for_the_bots_first_answer(world: World) -> None:
    """A rejection can overtake it; Discord knows no original response until then."""
    world.now = NOON + timedelta(seconds=1)
    world.discord.fail_next = [OriginalUnknown("not yet", "404")] * 2
    await world.handle(completed())
    assert world.outbox.sent[0].method is DeliveryMethod.EDIT
    assert world.discord.calls == 3


@pytest.mark.parametrize("closing", ["no token", "no channel"])
async def test_without_any_way_the_event_says_so(world: World, closing: str) -> None:
    """Counted, logged, and on the record; the offset moves on."""
    world.now = EXPIRED
    world.discord.has_bot_token = closing != "no token"
    world.discord.channels = set()
    await world.handle(completed())
    event = world.outbox.sent[0]
    assert (event.method, event.images, event.message_id) == (DeliveryMethod.UNDELIVERABLE, 0, None)


@pytest.mark.parametrize("expired", [False, True])
async def test_a_busy_discord_keeps_the_offset_for_as_long_as_it_asks(world: World, expired: bool) -> None:
    """The request comes again; nothing is recorded meanwhile."""
    world.now = EXPIRED if expired else world.now
    world.discord.fail_next = [DiscordBusy("slow down", "429", 7.5)]
    with pytest.raises(RetryLater) as caught:
        await world.handle(completed())
    assert caught.value.after_seconds == 7.5
    assert world.outbox.sent == []
    await world.handle(completed())
    assert len(world.outbox.sent) == 1


async def test_images_too_large_for_the_place_are_sent_as_webp(world: World) -> None:
    """The place's limit is each file's."""
    world.store_images(data=noise(64))
    size = sum(stored.info.bytes for stored in world.store.objects.values())
    await world.handle(completed(reply_to=a_reply(filesize_limit=size // 8)))
    files = world.discord.originals[TOKEN].files
    assert [extension_of(data) for data in files.values()] == ["webp"] * 4
    assert all(name.endswith(".webp") for name in files)
    assert sum(len(data) for data in files.values()) <= size // 2


async def test_what_discord_refuses_as_too_large_is_sent_smaller(world: World) -> None:
    """A request as a whole has a limit that Discord does not tell."""
    world.store_images(data=noise(64))
    size = sum(stored.info.bytes for stored in world.store.objects.values())
    world.discord.request_limit = size // 3
    await world.handle(completed())
    assert len(world.discord.originals[TOKEN].files) == 4
    assert world.outbox.sent[0].images == 4


async def test_jpeg_follows_when_webp_does_not_get_small_enough(world: World) -> None:
    """Each encoding in its turn, until one fits."""
    encodings = tuple(
        Encoding(format=kind, extension=end, quality=quality)
        for kind, end, quality in (("WEBP", "webp", 100), ("JPEG", "jpg", 5))
    )
    world.policy = replace(world.policy, encodings=encodings)
    world.notifier = world.start()
    world.store_images(data=noise(64))
    webp, jpeg = (len(reencode(noise(64), encoding)) for encoding in encodings)
    await world.handle(completed(reply_to=a_reply(filesize_limit=(webp + jpeg) // 2)))
    assert all(name.endswith(".jpg") for name in world.discord.originals[TOKEN].files)


async def test_images_that_no_encoding_makes_fit_are_linked(world: World) -> None:
    """The result is never lost for its size."""
    links = FakeObjectStore(public_base_url="https://images.example.org")
    links.objects = world.store.objects
    world.store = links
    world.notifier = world.start()
    await world.handle(completed(reply_to=a_reply(filesize_limit=1)))
    shown = world.discord.originals[TOKEN]
    assert shown.files == {}
    assert shown.content.count("<https://images.example.org/") == 4
    assert world.outbox.sent[0].images == 4


async def test_a_store_without_addresses_is_named_instead(world: World) -> None:
    """A folder has no links."""
    await world.handle(completed(reply_to=a_reply(filesize_limit=1)))
    assert f"kept in the image store under images/{REQUEST}" in world.discord.originals[TOKEN].content


async def test_an_image_that_is_gone_is_admitted_and_the_others_shown(world: World) -> None:
    """Three of four are worth more than none."""
    world.store.delete(an_image(2).object_key)
    await world.handle(completed())
    shown = world.discord.originals[TOKEN]
    assert len(shown.files) == 3
    assert "1 of 4 images could not be read" in shown.content
    assert (world.outbox.sent[0].outcome, world.outbox.sent[0].images) == (Outcome.SUCCEEDED, 3)


async def test_images_that_are_all_gone_are_a_failure(world: World) -> None:
    """Told with a code, and recorded as one, so that the quota is given back."""
    world.store.objects.clear()
    await world.handle(completed())
    code = ErrorCode.STORAGE_UNAVAILABLE
    assert world.discord.originals[TOKEN].content.endswith(f"{code.sentence} [{code.value}]")
    event = world.outbox.sent[0]
    assert (event.outcome, event.error_code, event.images) == (Outcome.FAILED, code.value, 0)


@pytest.mark.parametrize("data", [b"null", b"", b"Traceback (most recent call last):", b"<html>"])
async def test_f3_an_object_that_is_no_picture_is_never_attached(world: World, data: bytes) -> None:
    """F3: whatever lies under the key, only pictures are delivered as images."""
    world.store_images(data=data)
    await world.handle(completed())
    assert world.discord.originals[TOKEN].files == {}
    assert world.outbox.sent[0].outcome is Outcome.FAILED


async def test_f4_a_traceback_as_an_image_key_is_a_missing_image(world: World) -> None:
    """F4: it is neither read, nor linked, nor shown."""
    images = [an_image(object_key="Traceback (most recent call last):\n  File /x.py")]
    await world.handle(completed(images=images))
    shown = world.discord.originals[TOKEN]
    assert "Traceback" not in shown.content
    assert shown.files == {}
    assert world.outbox.sent[0].error_code == ErrorCode.STORAGE_UNAVAILABLE.value


async def test_a_store_that_is_away_keeps_the_offset(world: World) -> None:
    """The images are there; only not now."""
    world.store.fail_next = [ObjectStoreUnreachable("away")] * 4
    with pytest.raises(RetryLater):
        await world.handle(completed())
    await world.handle(completed())
    assert world.outbox.sent[0].images == 4


async def test_a_store_that_refuses_is_asked_until_the_token_ends(world: World) -> None:
    """People mend credentials, but a user is not kept waiting for ever."""
    world.store.fail_next = [ObjectStoreDenied("no")] * 4
    with pytest.raises(RetryLater):
        await world.handle(completed())
    world.now = EXPIRED
    world.store.fail_next = [ObjectStoreDenied("no")] * 4
    await world.handle(completed())
    assert world.outbox.sent[0].error_code == ErrorCode.STORAGE_UNAVAILABLE.value


async def test_a_refused_encoding_does_not_lose_the_result(world: World) -> None:
    """A picture with a good beginning and a broken rest is linked, not re-encoded."""
    world.store_images(data=a_png()[:30])
    await world.handle(completed(reply_to=a_reply(filesize_limit=1)))
    assert "too large for Discord" in world.discord.originals[TOKEN].content


@pytest.mark.parametrize("format", ["WEBP", "JPEG"])
def test_a_transparent_picture_is_reencoded_without_an_error(format: str) -> None:
    """JPEG has no alpha channel."""
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (1, 2, 3, 128)).save(buffer, "PNG")
    smaller = reencode(buffer.getvalue(), Encoding(format=format, extension="x", quality=50))
    assert extension_of(smaller) == {"WEBP": "webp", "JPEG": "jpg"}[format]


def test_bytes_that_do_not_decode_are_not_a_picture() -> None:
    """One typed failure, whatever Pillow raises."""
    with pytest.raises(NotAPicture):
        reencode(b"\x89PNG\r\n\x1a\nnonsense", Encoding(format="WEBP", extension="webp", quality=50))


async def test_what_is_hardly_smaller_than_what_was_refused_is_not_tried(world: World) -> None:
    """Each refusal costs an upload of megabytes."""
    world.policy = replace(world.policy, shrink_after_refusal=0.001)
    world.notifier = world.start()
    world.store_images(data=noise(64))
    world.discord.fail_next = [FilesTooLarge("no", "413")]
    await world.handle(completed())
    assert world.discord.calls == 2
    assert "too large for Discord" in world.discord.originals[TOKEN].content


async def test_no_size_is_tried_that_discord_already_refused(world: World) -> None:
    """Each refusal costs an upload of megabytes."""
    world.store_images(data=noise(64))
    world.discord.fail_next = [FilesTooLarge("no", "413")]
    await world.handle(completed())
    sizes = [sum(len(file.data) for file in edit.files or ()) for edit in world.discord.edits]
    whole = sum(stored.info.bytes for stored in world.store.objects.values())
    assert len(sizes) == 1
    assert sizes[0] <= whole * world.policy.shrink_after_refusal
