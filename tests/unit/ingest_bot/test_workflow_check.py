"""Every fault of a workflow's files is found when they are loaded, and told by file, field and expectation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.ingest_bot.templates.load import BUILT_IN, load_catalogue, load_workflow
from services.ingest_bot.templates.problems import WorkflowError
from tests.unit.ingest_bot.workflow_files import Change, Graph, Manifest, changed, read, write


def _set(path: str, value: Any) -> Change:
    """Set a field of the manifest, such as ``parameters.cfg.max``; keys are split at dots."""

    def change(manifest: Manifest, graph: Graph) -> None:
        *parents, last = path.split(".")
        target: Any = manifest
        for parent in parents:
            target = target[parent]
        target[last] = value

    return change


def _drop(path: str) -> Change:
    def change(manifest: Manifest, graph: Graph) -> None:
        *parents, last = path.split(".")
        target: Any = manifest
        for parent in parents:
            target = target[parent]
        del target[last]

    return change


def _wire(place: str, value: Any) -> Change:
    """Set an input in the graph."""

    def change(manifest: Manifest, graph: Graph) -> None:
        node, _, name = place.partition(".")
        graph[node]["inputs"][name] = value

    return change


def _add_node(node_id: str, class_type: str, **inputs: Any) -> Change:
    def change(manifest: Manifest, graph: Graph) -> None:
        graph[node_id] = {"class_type": class_type, "inputs": inputs}

    return change


def _remove_node(node_id: str) -> Change:
    return lambda manifest, graph: graph.pop(node_id)


def _no_save_image(manifest: Manifest, graph: Graph) -> None:
    graph["9"] = {"class_type": "PreviewNamed", "inputs": {"filename_prefix": "x", "images": ["8", 0]}}


def _editors_format(manifest: Manifest, graph: Graph) -> None:
    graph.clear()
    graph |= {"nodes": [], "links": []}


P = "manifest.yaml: parameters"
#: What is changed in a good workflow, and what the refusal has to say.
FAULTS: list[tuple[Change, str]] = [
    # The manifest's shape.
    (_drop("title"), "manifest.yaml: object missing required field `title`"),
    (_set("colour", "red"), "manifest.yaml: object contains unknown field `colour`"),
    (_set("parameters.cfg.type", "number"), f"{P}.cfg.type: invalid value 'number'"),
    (_set("parameters.cfg.default", "six"), f"{P}.cfg.default: expected `float`, got `str`"),
    (_drop("parameters.cfg.max"), f"{P}.cfg: object missing required field `max`"),
    (_set("parameters.cfg.colour", 1), f"{P}.cfg: object contains unknown field `colour`"),
    (_set("parameters.cfg.help", ""), f"{P}.cfg.help: expected `str` of length >= 1"),
    (_set("parameters.cfg.help", "x" * 101), f"{P}.cfg.help: expected `str` of length <= 100"),
    (_set("parameters.ar.sizes", {969: [1, 1]}), f"{P}.ar.sizes: expected `str`, got `int`; quote what YAML"),
    (_set("runtime.filename_prefix", []),
     "manifest.yaml: runtime.filename_prefix: expected `array` of length >= 1"),
    (_drop("runtime"), "manifest.yaml: object missing required field `runtime`"),
    # Names.
    (_set("parameters.Bad_name", {"type": "flag", "help": "x"}), f"{P}.Bad_name: a name has lower-case"),
    (_set("parameters.workflow", {"type": "flag", "help": "x"}),
     f"{P}.workflow: this flag chooses a workflow"),
    (_drop("parameters.prompt"), f"{P}.prompt: missing"),
    (_drop("parameters.seed"), f"{P}.seed: missing"),
    (_set("parameters.noise", {"type": "seed", "help": "x", "bind": ["3.steps"]}),
     f"{P}.noise.type: a workflow has one"),
    # Values.
    (_set("parameters.cfg.default", 21), f"{P}.cfg.default: 21.0 is outside min 1.0 and max 20.0"),
    (_set("parameters.cfg.default", 6.05), f"{P}.cfg.default: 6.05 is no multiple of step 0.1"),
    (_set("parameters.cfg.min", 0.25), f"{P}.cfg.min: 0.25 is no multiple"),
    (_set("parameters.sampler.default", "fast"),
     f"{P}.sampler.default: 'fast' is none of legacy, euler, dpmpp"),
    (_set("parameters.sampler.choices.Euler", {"3.sampler_name": "euler", "3.scheduler": "normal"}),
     f"{P}.sampler.choices: 'euler' is there twice"),
    (_set("parameters.sampler.choices.slow", {"3.sampler_name": "heun"}),
     f"{P}.sampler.choices: all must write to the same"),
    (_set("parameters.ar.default", "7:1"), f"{P}.ar.default: '7:1' is none of"),
    (_set("parameters.ar.sizes.wide", [512, 512]), f"{P}.ar.sizes.wide: expected a ratio such as 16:9"),
    (_set("parameters.ar.sizes.0:1", [512, 512]), f"{P}.ar.sizes.0:1: expected a ratio"),
    (_set("parameters.ar.sizes.9:1", [513, 57]), f"{P}.ar.sizes.9:1: expected multiples of 8"),
    (_set("parameters.ar.sizes.9:1", [0, 512]), f"{P}.ar.sizes.9:1: expected multiples of 8 up to"),
    (_set("parameters.ar.follows", "image"), f"{P}.ar.follows: 'image' is no parameter of type image"),
    (_set("parameters.neg.default", "x" * 1001), f"{P}.neg.default: longer than max_chars, 1000"),
    (_set("parameters.neg.append", [{"text": "x", "unless": "rough"}]),
     f"{P}.neg.append.unless: 'rough' is no parameter of type flag"),
    (_set("parameters.images.max", 17), f"{P}.images: expected type int, within 1 and 16"),
    (_set("parameters.images.bind", ["5.batch_size"]), f"{P}.images: expected type int"),
    (_drop("runtime.batch_size"),
     "manifest.yaml: runtime.batch_size: missing, and needed for more than one image"),
    # Places.
    (_set("parameters.cfg.bind", ["3"]),
     f"{P}.cfg.bind: '3' is no place; expected \"<node id>.<input name>\""),
    (_set("parameters.cfg.bind", ["99.cfg"]), f"{P}.cfg.bind: there is no node '99'; expected one of 3, 4"),
    (_set("parameters.cfg.bind", ["3.cgf"]),
     f"{P}.cfg.bind: node '3' (KSampler) has no input 'cgf'; expected cfg"),
    (_set("parameters.cfg.bind", ["3.model"]), f"{P}.cfg.bind: '3.model' is a link to another node"),
    (_set("parameters.cfg.bind", ["6.text"]),
     f"{P}.cfg.bind: 6.text holds '' in graph.json; expected a value like 0.5"),
    (_set("parameters.prompt.bind", ["3.steps"]),
     f"{P}.prompt.bind: 3.steps holds 30 in graph.json; expected a value like 'text'"),
    (_set("parameters.steps.bind", ["6.text"]), f"{P}.steps.bind: 6.text holds ''"),
    (_set("parameters.model.choices.sd15", 5), f"{P}.model.bind: 4.ckpt_name holds 'v1-5-"),
    (_set("parameters.ar.width", ["6.text"]), f"{P}.ar.width: 6.text holds ''"),
    (_set("parameters.cfg.bind", []), f"{P}.cfg.bind: missing; expected at least one place"),
    (_set("parameters.seed.bind", []), f"{P}.seed.bind: missing"),
    (_set("parameters.prompt.bind", []), f"{P}.prompt.bind: missing"),
    (_set("parameters.ar.height", []), f"{P}.ar.height: missing"),
    (_set("parameters.loud", {"type": "flag", "help": "x"}), f"{P}.loud.bind: missing"),
    (_set("parameters.loud", {"type": "flag", "help": "x", "bind": ["3.steps"]}),
     f"{P}.loud.bind: 3.steps holds 30"),
    (_set("parameters.neg.bind", ["6.text"]),
     f"{P}.neg.bind and parameters.prompt.bind: both write to 6.text"),
    (_set("runtime.batch_size", ["3.steps"]),
     f"{P}.steps.bind and runtime.batch_size: both write to 3.steps"),
    (_set("runtime.filename_prefix", ["9.name"]),
     "runtime.filename_prefix: node '9' (SaveImage) has no input 'name'"),
    # What comes out, and what it needs.
    (_remove_node("9"), "runtime.filename_prefix: there is no node '9'"),
    (_wire("9.filename_prefix", ["6", 0]), "runtime.filename_prefix: '9.filename_prefix' is a link"),
    (_add_node("10", "SaveImage", filename_prefix="x", images=["8", 0]),
     "runtime.filename_prefix: lacks 10.filename_prefix"),
    (_no_save_image, "graph.json: has no SaveImage node"),
    (_set("parameters.model.loads", "lora"),
     "manifest.yaml: checkpoints: lacks 'v1-5-pruned-emaonly.safetensors', which 4.ckpt_name loads"),
    (_add_node("10", "LoraLoader", lora_name="ink.safetensors", model=["4", 0], clip=["4", 1]),
     "manifest.yaml: loras: lacks 'ink.safetensors'"),
    # The graph.
    (_wire("3.model", ["44", 0]), "graph.json: 3.model: links to node '44', which does not exist"),
    (_add_node("1.2", "Note"), "graph.json: 1.2: a node id with a dot"),
    (lambda m, g: g.update(x=[1]), "graph.json: x: expected a node with class_type and inputs"),
    (lambda m, g: g["3"].pop("class_type"), "graph.json: 3: expected a node with class_type"),
    (_editors_format, "graph.json: this is the editor's format"),
    (lambda m, g: g.clear(), "graph.json: expected an object of nodes by id"),
    (_wire("6.text", "\0"), "graph.json: holds a NUL character"),
    (_wire("6.text", "x" * 140_000), "graph.json: has 140930 bytes; expected at most 131072"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_a_faulty_workflow_is_refused_with_file_field_and_expectation(
    tmp_path: Path, change: Change, said: str
) -> None:
    """Whoever adds a workflow reads at start-up what to mend, and no user meets the fault."""
    folder = changed(tmp_path, change)
    with pytest.raises(WorkflowError) as caught:
        load_workflow(folder)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{folder}/")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """A second start shows no fault that the first could have shown."""

    def change(manifest: Manifest, graph: Graph) -> None:
        manifest["parameters"]["cfg"]["bind"] = ["99.cfg"]
        manifest["parameters"]["ar"]["default"] = "7:1"

    with pytest.raises(WorkflowError) as caught:
        load_workflow(changed(tmp_path, change))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("name", sorted(path.name for path in BUILT_IN.iterdir() if path.is_dir()))
def test_an_unchanged_copy_of_a_shipped_workflow_loads(tmp_path: Path, name: str) -> None:
    """The faults above come from their changes alone; a copy has the original's version."""
    copy = load_workflow(changed(tmp_path, lambda manifest, graph: None, of=name, name=name))
    assert copy.version == load_workflow(BUILT_IN / name).version


@pytest.mark.parametrize(
    "change",
    [_set("parameters.cfg.default", 7), _wire("3.denoise", 0.9), _set("parameters.raw.help", "Other")],
)
def test_a_change_of_manifest_or_graph_is_another_version(tmp_path: Path, change: Change) -> None:
    """Equal versions draw alike, so whatever could draw otherwise has another one."""
    assert load_workflow(changed(tmp_path, change)).version != load_workflow(BUILT_IN / "sd15").version


@pytest.mark.parametrize("missing", ["graph.json", "manifest.yaml"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    """A folder needs both files."""
    folder = changed(tmp_path, lambda manifest, graph: None)
    (folder / missing).unlink()
    with pytest.raises(WorkflowError, match=rf"{missing}: cannot be read \(No such file"):
        load_workflow(folder)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("graph.json", b"{", "graph.json: is not JSON in UTF-8"),
        ("graph.json", b'{"\xff": 1}', "graph.json: is not JSON in UTF-8"),
        ("manifest.yaml", b"a: [", "manifest.yaml: is not YAML in UTF-8"),
        ("manifest.yaml", b"- a", "manifest.yaml: expected `object`, got `array`"),
        ("manifest.yaml", b"", "manifest.yaml: expected `object`, got `null`"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, file: str, text: bytes, said: str) -> None:
    """What is no JSON or YAML at all is told like any other fault."""
    folder = changed(tmp_path, lambda manifest, graph: None)
    (folder / file).write_bytes(text)
    with pytest.raises(WorkflowError) as caught:
        load_workflow(folder)
    assert said in str(caught.value)


def test_a_folder_with_an_odd_name_is_refused(tmp_path: Path) -> None:
    """The folder's name is the workflow's, which users type."""
    with pytest.raises(WorkflowError, match="a workflow's folder has lower-case letters"):
        load_workflow(changed(tmp_path, lambda manifest, graph: None, name="My Workflow"))


def test_a_folder_of_workflows_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A typo in WORKFLOWS_DIRS stops the start instead of hiding the workflows."""
    with pytest.raises(WorkflowError, match=r"nowhere: cannot be read \(No such file"):
        load_catalogue([tmp_path / "nowhere"])


def test_a_folder_adds_a_workflow_without_code(tmp_path: Path) -> None:
    """A new folder's model chooses it, and its own parameter is a flag and known to the parser."""

    def change(manifest: Manifest, graph: Graph) -> None:
        manifest["default"] = False
        manifest["parameters"]["model"] |= {"default": "ink", "choices": {"ink": "ink.safetensors"}}
        manifest["parameters"]["clip"] = {
            "type": "int", "help": "x", "default": -1, "min": -2, "max": -1, "bind": ["10.stop_at_clip_layer"]
        }  # fmt: skip
        graph["10"] = {
            "class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": -1, "clip": ["4", 1]}
        }  # fmt: skip
        graph["6"]["inputs"]["clip"] = ["10", 0]

    changed(tmp_path, change, name="ink")
    catalogue = load_catalogue([tmp_path])
    assert catalogue.workflows.keys() == {"image-to-image", "ink", "sd15", "sdxl"}
    assert "clip" in catalogue.known


def test_a_later_folder_replaces_a_workflow_of_the_same_name(tmp_path: Path) -> None:
    """So an installation changes a shipped one without touching the code."""
    changed(tmp_path, _set("title", "Ours"), name="sd15")
    assert load_catalogue([tmp_path]).workflows["sd15"].manifest.title == "Ours"


def test_workflows_that_could_be_confused_are_refused(tmp_path: Path) -> None:
    """One default, one workflow a model, and one type a flag among those that take the same attachments."""

    def change(manifest: Manifest, graph: Graph) -> None:
        manifest["parameters"]["steps"] = {"type": "text", "help": "x", "bind": ["10.note"]}
        graph["10"] = {"class_type": "Note", "inputs": {"note": ""}}

    changed(tmp_path, change, name="twin")
    with pytest.raises(WorkflowError) as caught:
        load_catalogue([tmp_path])
    said = [str(problem) for problem in caught.value.problems]
    assert any("steps.type: has another type" in text for text in said)
    assert "twin/manifest.yaml: default: sd15 is the default for the same attachments already" in said
    assert any("'sd15' already chooses sd15; rename it" in text for text in said)


def test_ratios_of_the_shipped_workflows_are_near_their_names_and_areas() -> None:
    """A size is within 4 % of its ratio and 11 % of its model's area; portraits mirror landscapes."""
    for name, area in (("sd15", 512**2), ("sdxl", 1024**2), ("image-to-image", 512**2)):
        sizes: dict[str, list[int]] = read(name)[0]["parameters"]["ar"]["sizes"]
        for ratio, (width, height) in sizes.items():
            across, down = (int(part) for part in ratio.split(":"))
            assert width / height == pytest.approx(across / down, rel=0.04), (name, ratio)
            assert width * height == pytest.approx(area, rel=0.11), (name, ratio)
            assert sizes[f"{down}:{across}"] == [height, width], (name, ratio)


def test_writing_and_reading_a_workflow_in_tests_changes_nothing(tmp_path: Path) -> None:
    """The tests' own copies are faithful."""
    manifest, graph = read("sdxl")
    folder = write(tmp_path, "sdxl", manifest, graph)
    assert load_workflow(folder).version == load_workflow(BUILT_IN / "sdxl").version
