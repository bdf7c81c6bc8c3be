"""From a command to a request or a refusal: the workflow, the graph, the canonical form, the limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.codec import Codec
from services.contracts.errors import ErrorCode
from services.contracts.events import GenerationRequested, InputImage, ReplyTo
from services.ingest_bot.decide import Command, Draft, draft, request
from services.ingest_bot.policy import Policy
from services.ingest_bot.refusals import Refusal
from services.ingest_bot.templates.load import load_catalogue
from tests.unit.ingest_bot.workflow_files import read

CATALOGUE = load_catalogue()
POLICY = Policy()
NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
REPLY_TO = ReplyTo(
    user_id="1",
    channel_id="2",
    application_id="3",
    interaction_token="token",
    token_expires_at=NOW + timedelta(minutes=15),
)
SQUARE = {"image": (800, 800)}


def command(
    prompt: str,
    images: Mapping[str, tuple[int, int]] | None = None,
    options: Mapping[str, str | None] | None = None,
) -> Command:
    """A ``/serve``."""
    return Command(name="serve", prompt=prompt, options=options or {}, images=images or {})


def drafted(
    prompt: str,
    images: Mapping[str, tuple[int, int]] | None = None,
    policy: Policy = POLICY,
    options: Mapping[str, str | None] | None = None,
) -> Draft:
    """The draft of a command that is taken."""
    found = draft(command(prompt, images, options), CATALOGUE, policy, random_seed=42)
    assert isinstance(found, Draft), found
    return found


def refused(
    prompt: str,
    images: Mapping[str, tuple[int, int]] | None = None,
    policy: Policy = POLICY,
    options: Mapping[str, str | None] | None = None,
) -> Refusal:
    """The refusal of a command that is not."""
    found = draft(command(prompt, images, options), CATALOGUE, policy, random_seed=42)
    assert isinstance(found, Refusal), found
    return found


def requested(
    prompt: str,
    images: Mapping[str, tuple[int, int]] | None = None,
    inputs: list[InputImage] | None = None,
    **options: str | None,
) -> GenerationRequested:
    """The request of a command that is taken."""
    ready = drafted(prompt, images, options=options)
    return request(ready, POLICY, request_id="9", reply_to=REPLY_TO, now=NOW, inputs=inputs or [])


def graph_of(event: GenerationRequested) -> dict[str, Any]:
    """The rendered graph."""
    graph: dict[str, Any] = json.loads(event.job.graph)
    return graph


def test_a_plain_prompt_becomes_a_whole_request() -> None:
    """Every field of the event, for the shortest command."""
    event = requested("a lighthouse")
    job = event.job
    assert (event.request_id, event.command, event.requested_at) == ("9", "serve", NOW)
    assert event.expires_at == NOW + POLICY.lifetime
    assert (event.raw_input, event.command_string, event.prompt) == ("a lighthouse",) * 3
    assert (event.negative_prompt, event.plan, event.notes) == ("", "free", [])
    assert (job.workflow, job.seed, job.images, job.inputs) == ("sd15", 42, 4, [])
    assert job.workflow_version == CATALOGUE.workflows["sd15"].version
    assert job.checkpoints == ["v1-5-pruned-emaonly.safetensors"]
    assert job.bindings == {
        "seed": ["3.seed"], "filename_prefix": ["9.filename_prefix"], "batch_size": ["5.batch_size"]
    }  # fmt: skip
    assert job.parameters == {
        "prompt": "a lighthouse", "model": "sd15", "ar": "1:1", "neg": "", "cfg": "6", "seed": "42", "images": "4",
        "steps": "30", "sampler": "legacy", "raw": "",
    }  # fmt: skip


def test_flags_reach_their_nodes_and_nothing_else() -> None:
    """Size, guidance, steps, sampler and texts stand where the manifest binds them."""
    event = requested("a boat --ar 3:2 --cfg 7.5 --steps 12 --sampler dpmpp --neg fog --seed 5 --images 2")
    graph = graph_of(event)
    assert graph["5"]["inputs"] == {"width": 624, "height": 416, "batch_size": 1}
    sampler = graph["3"]["inputs"]
    assert (sampler["cfg"], sampler["steps"]) == (7.5, 12)
    assert (sampler["sampler_name"], sampler["scheduler"]) == ("dpmpp_2m", "karras")
    assert graph["6"]["inputs"]["text"] == "a boat, best quality, high quality, good"
    assert graph["7"]["inputs"]["text"] == "fog, nsfw, worst quality, deformed, low quality, bad"
    assert (event.job.seed, event.job.images, event.negative_prompt) == (5, 2, "fog")


def test_raw_adds_no_quality_words_but_still_keeps_nsfw_out() -> None:
    """As in the original: ``nsfw`` is appended even with ``--raw``."""
    graph = graph_of(requested("a boat --raw"))
    assert graph["6"]["inputs"]["text"] == "a boat"
    assert graph["7"]["inputs"]["text"] == "nsfw"


@pytest.mark.parametrize(
    ("prompt", "images", "workflow"),
    [
        ("a", {}, "sd15"),
        ("a --model sd15", {}, "sd15"),
        ("a --model SDXL", {}, "sdxl"),
        ("a --workflow sdxl", {}, "sdxl"),
        ("a --workflow sdxl --model sdxl", {}, "sdxl"),
        ("a", SQUARE, "image-to-image"),
        ("a --imagedenoise 0.4", SQUARE, "image-to-image"),
        ("a --model sd15", SQUARE, "image-to-image"),
    ],
)
def test_model_workflow_and_attachment_choose_the_workflow(
    prompt: str, images: Mapping[str, tuple[int, int]], workflow: str
) -> None:
    """An attachment asks for image-to-image, a model or a name for the workflow that has it."""
    assert drafted(prompt, images).workflow.name == workflow


REFUSALS: list[tuple[str, Mapping[str, tuple[int, int]], str]] = [
    ("", {}, "The prompt is empty; say what to draw before the first flag."),
    ("  \u200b\n --ar 16:9", {}, "The prompt is empty"),
    ("a --model sdx", {}, "There is no model `sdx`; did you mean `sdxl`?"),
    ("a --model vodka", {}, "There is no model `vodka`; there are `sd15`, `sdxl`."),
    ("a --model", {}, "There is no model ``; there are"),
    ("a --model sdxl", SQUARE, "The model `sdxl` does not start from an image; send the command without"),
    ("a --workflow oil", {}, "There is no workflow `oil`; there are `image-to-image`, `sd15`, `sdxl`."),
    ("a --workflow image-to-image", {}, "The workflow `image-to-image` needs an attached image; attach one"),
    ("a --workflow sdxl --model sd15", {}, "`--model` takes one of sdxl, not `sd15`"),
    ("a --imagedenoise 0.5", {}, "`--imagedenoise` needs an attached image; attach one with the option image."),
    ("a --image https://example.com/a.png", {}, "`--image` takes no link; attach the image"),
    ("a --image https://example.com/a.png", SQUARE, "`--image` takes no link; attach the image"),
    ("a", {"mask": (8, 8)}, "No workflow that is installed here takes the attached image"),
    ("a --images 5", {}, "`--images` takes a whole number from 1 to 4, not `5`."),
    ("x" * 2001, {}, "The prompt has 2001 characters, and at most 2000 are allowed; shorten it."),
    ("a --neg " + "x" * 1001, {}, "The text of `--neg` has 1001 characters"),
    (" " * 6001, {}, "The command has 6001 characters, and at most 6000 are allowed."),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "images", "said"), REFUSALS, ids=[said for _, _, said in REFUSALS])
def test_a_command_that_cannot_be_taken_is_refused_with_one_sentence(
    prompt: str, images: Mapping[str, tuple[int, int]], said: str
) -> None:
    """A stable code, and what was wrong and expected."""
    refusal = refused(prompt, images)
    assert said in refusal.message
    assert refusal.code in (ErrorCode.INVALID_COMMAND, ErrorCode.UNKNOWN_WORKFLOW)


def test_an_unknown_workflow_has_a_code_of_its_own() -> None:
    """Codes are stable: support and metrics go by them."""
    assert refused("a --workflow oil").code is ErrorCode.UNKNOWN_WORKFLOW


def test_options_count_against_the_length_too() -> None:
    """Else a long option would pass a limit that a long prompt does not."""
    assert "The command has 6001 characters" in refused("a", options={"neg": "x" * 6000}).message


def test_a_narrower_limit_of_the_installation_holds() -> None:
    """The settings' limit is below the manifest's."""
    assert "at most 5 are allowed" in refused("a long prompt", policy=Policy(prompt_chars=5)).message


def test_an_installation_that_draws_fewer_images_says_so() -> None:
    """The default of four is cut with a note, not refused; provenance says what is drawn."""
    ready = drafted("a", policy=Policy(images=2))
    assert ready.notes == ["images 4 became 2"]
    job = request(ready, Policy(images=2), request_id="9", reply_to=REPLY_TO, now=NOW, inputs=[]).job
    assert (job.images, job.parameters["images"]) == (2, "2")


def test_typed_options_are_flags() -> None:
    """The same values by option or by flag make the same request."""
    by_option = requested("a", ar="16:9", neg='"fog --free"', raw=None, seed="5")
    by_flag = requested('a --ar 16:9 --neg "fog --free" --raw --seed 5')
    assert by_option.job == by_flag.job
    assert by_option.command_string == by_flag.command_string


def test_an_option_that_contradicts_a_flag_is_refused() -> None:
    """Neither wins silently."""
    assert (
        "`--ar` was given twice, as `16:9` and as `1:1`"
        in refused("a --ar 16:9", options={"ar": "1:1"}).message
    )


def test_notes_tell_every_value_that_was_changed() -> None:
    """Snapped values and words that look like flags."""
    assert drafted("a —seeed 5 --ar 27:18 --cfg 6.03").notes == [
        "`—seeed` was read as text; the flag is `--seed`.",
        "ratio 27:18 became 3:2",
        "cfg 6.03 became 6",
    ]


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("a  cat\n--seed 007 --ar 16:9", "a cat --ar 16:9 --seed 7"),
        ("a cat --ar 1:1 --cfg 6.0 --images 4 --sampler LEGACY", "a cat"),
        ("a cat --raw --neg “x --y” --ar 27:18", 'a cat --ar 3:2 --neg "x --y" --raw'),
        ("a cat --model SDXL", "a cat --model sdxl"),
        ("a cat --model sd15", "a cat --model sd15"),
        ("a cat --workflow SDXL --model sdxl", "a cat --workflow sdxl --model sdxl"),
    ],
)
def test_the_canonical_form_has_a_fixed_order_and_no_defaults(typed: str, canonical: str) -> None:
    """But for what chose the workflow: a default there is not another workflow's."""
    assert drafted(typed).command_string == canonical


def test_an_image_sets_the_shape_unless_a_ratio_is_given() -> None:
    """A wide picture is redrawn wide; ``--ar`` overrides it and is then said."""
    wide = {"image": (1920, 1000)}
    assert graph_of(requested("a", wide))["11"]["inputs"]["width"] == 720
    assert drafted("a", wide).command_string == "a"
    ready = requested("a --ar 1:1", wide)
    assert graph_of(ready)["11"]["inputs"]["width"] == 512
    assert ready.command_string == "a --ar 1:1"


def test_an_attachment_is_an_input_bound_at_run_time() -> None:
    """The worker uploads the object and writes its name where the binding says."""
    stored = InputImage(parameter="image", object_key="inputs/x.png", content_type="image/png", bytes=7)
    event = requested("a --imagedenoise 0.4", SQUARE, [stored])
    assert event.job.inputs == [stored]
    assert event.job.bindings["image"] == ["10.image"]
    assert event.job.bindings["batch_size"] == ["13.amount"]
    assert graph_of(event)["3"]["inputs"]["denoise"] == 0.4


def test_what_utf8_cannot_hold_does_not_reach_the_event() -> None:
    """JSON can carry half a character; Avro cannot, and the request would be lost when it is sent."""
    event = requested("a \ud800cat")
    assert event.prompt == "a cat"
    assert Codec().decode(Codec().encode(event)) == event


HOSTILE = [
    '{"9":{"class_type":"SaveImage","inputs":{"filename_prefix":"../x"}}}',
    '["4",0]',
    '", "class_type": "LoadImage", "x": "',
    "embedding:evil.pt, <lora:x:1>, {a|b}, __wildcard__, $(id), %date%",
    "3.seed 9.filename_prefix %KSampler.seed%",
    "\\", "\\u0000", "\u00000\u0000", "'; DROP TABLE jobs; --", "👩\u200d🚀 العربية עברית",
]  # fmt: skip
_WORDS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=80))


@settings(max_examples=300, deadline=None)
@given(
    prompt=_WORDS,
    negative=_WORDS,
    model=st.sampled_from(["sd15", "sdxl"]),
    image=st.booleans(),
    raw=st.booleans(),
)
def test_the_graph_differs_from_the_template_at_bound_inputs_only(
    prompt: str, negative: str, model: str, image: bool, raw: bool
) -> None:
    """Whatever the words: nodes, classes, links and unbound inputs are the template's, and texts stay texts."""
    model = "sd15" if image else model
    options: dict[str, str | None] = {"neg": negative, "model": model, **({"raw": None} if raw else {})}
    ready = draft(command(f"a {prompt}", SQUARE if image else {}, options), CATALOGUE, POLICY, random_seed=1)
    if isinstance(ready, Refusal):
        return
    event = request(ready, POLICY, request_id="9", reply_to=REPLY_TO, now=NOW, inputs=[])
    template, graph = read(ready.workflow.name)[1], graph_of(event)
    bound = set(ready.workflow.graph.places)
    assert graph.keys() == template.keys()
    for node_id, node in template.items():
        assert graph[node_id]["class_type"] == node["class_type"]
        assert graph[node_id]["inputs"].keys() == node["inputs"].keys()
        for name, value in node["inputs"].items():
            written = graph[node_id]["inputs"][name]
            if f"{node_id}.{name}" not in bound:
                assert written == value
            elif isinstance(value, str):
                assert isinstance(written, str)
    assert graph["6"]["inputs"]["text"].startswith(ready.line.prompt.rstrip(" ,"))
    assert graph["7"]["inputs"]["text"].startswith(ready.bound.text("neg").rstrip(" ,"))


@settings(max_examples=400, deadline=None)
@given(
    prompt=_WORDS,
    flags=st.lists(
        st.sampled_from(
            ["--ar 27:18", "--ar 16:9", "--cfg 6.06", "--cfg 6", "--seed 7", "--images 1", "--raw", "--steps 30",
             "--model sdxl", "--model sd15", "--workflow sdxl", "--sampler euler", "--neg fog, snow", '--neg "a --b"']
        ),
        max_size=5,
    ),
)  # fmt: skip
def test_a_canonical_command_asks_for_the_same(prompt: str, flags: list[str]) -> None:
    """Sent again, the canonical form makes the same job and the same canonical form."""
    first = draft(command(" ".join([prompt, *flags])), CATALOGUE, POLICY, random_seed=1)
    if isinstance(first, Refusal):
        return
    again = draft(command(first.command_string), CATALOGUE, POLICY, random_seed=1)
    assert isinstance(again, Draft)
    assert again.command_string == first.command_string
    assert (again.workflow, again.bound.values.keys()) == (first.workflow, first.bound.values.keys())
    for name, value in first.bound.values.items():
        assert (again.bound.values[name].text, again.bound.values[name].value) == (value.text, value.value)
