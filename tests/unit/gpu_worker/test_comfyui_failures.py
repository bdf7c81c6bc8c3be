"""The table of failures: which words of ComfyUI mean what."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from services.contracts.errors import ErrorCode
from services.gpu_worker import ports
from services.gpu_worker.adapters import comfyui_failures
from services.gpu_worker.ports import (
    BadInputImage,
    CheckpointMissing,
    ComfyUIDied,
    ComfyUIUnreachable,
    DeadlineExceeded,
    DiskFull,
    GraphRefused,
    Interrupted,
    ModelUnreadable,
    NodeFailed,
    NoImages,
    OutOfMemory,
    RenderError,
)

EXCEPTIONS = [
    ("KSampler", "torch.OutOfMemoryError", "Allocation on device", OutOfMemory),
    ("KSampler", "torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", OutOfMemory),
    ("VAEDecode", "RuntimeError", "MPS backend out of memory", OutOfMemory),
    ("CheckpointLoaderSimple", "RuntimeError", "DefaultCPUAllocator: can't allocate memory", OutOfMemory),
    ("SaveImage", "OSError", "[Errno 28] No space left on device: '/x'", DiskFull),
    ("SaveImage", "OSError", "[Errno 122] Disk quota exceeded", DiskFull),
    ("CheckpointLoaderSimple", "FileNotFoundError", "Model in folder 'checkpoints' is missing", CheckpointMissing),
    ("LoraLoader", "Exception", "File not found: x.safetensors", CheckpointMissing),
    ("CheckpointLoaderSimple", "safetensors_rust.SafetensorError", "header too large", ModelUnreadable),
    ("UNETLoader", "RuntimeError", "ERROR: Could not detect model type of: /x", ModelUnreadable),
    ("LoadImage", "PIL.UnidentifiedImageError", "cannot identify image file '/x'", BadInputImage),
    ("LoadImageMask", "OSError", "image file is truncated", BadInputImage),
    ("KSampler", "comfy.model_management.InterruptProcessingException", "", Interrupted),
    ("KSampler", "ValueError", "anything else", NodeFailed),
    ("SaveImage", "Exception", "Saving image outside the output folder is not allowed", NodeFailed),
]  # fmt: skip


@pytest.mark.parametrize(("node_type", "exception", "message", "kind"), EXCEPTIONS)
def test_f9_an_exception_is_named_by_its_kind(
    node_type: str, exception: str, message: str, kind: type[RenderError]
) -> None:
    """Memory and disk come before the node that met them, and the cause stays in the detail."""
    error = comfyui_failures.of_execution_error(
        {"node_id": "1", "node_type": node_type, "exception_type": exception, "exception_message": message}
    )
    assert type(error) is kind
    assert f"{node_type} 1 raised {exception}" in error.detail


def refusal(class_type: str, kind: str, name: str, **info: object) -> dict[str, Any]:
    """An answer to POST /prompt that refuses one input."""
    errors = [{"type": kind, "message": "m", "details": "d", "extra_info": {"input_name": name, **info}}]
    node = {"errors": errors, "dependent_outputs": ["9"], "class_type": class_type}
    return {"error": {"type": "prompt_outputs_failed_validation"}, "node_errors": {"1": node}}


REFUSALS = [
    (refusal("CheckpointLoaderSimple", "value_not_in_list", "ckpt_name"), CheckpointMissing),
    (refusal("LoraLoader", "value_not_in_list", "lora_name"), CheckpointMissing),
    (refusal("LoadImage", "custom_validation_failed", "image"), BadInputImage),
    (refusal("LoadImage", "value_not_in_list", "image"), BadInputImage),
    (refusal("KSampler", "value_not_in_list", "sampler_name"), GraphRefused),
    (refusal("EmptyLatentImage", "value_bigger_than_max", "width"), GraphRefused),
    ({"error": {"type": "invalid_prompt", "message": "m"}, "node_errors": {}}, GraphRefused),
    ({"error": "a text", "node_errors": {}}, GraphRefused),
]


@pytest.mark.parametrize(("body", "kind"), REFUSALS)
def test_a_refusal_is_named_by_its_kind(body: dict[str, Any], kind: type[RenderError]) -> None:
    """A missing file is another worker's chance; a graph that is wrong is wrong everywhere."""
    assert type(comfyui_failures.of_refusal(body)) is kind


def test_what_no_worker_could_mend_decides_a_refusal() -> None:
    """A graph that is wrong and lacks a model is wrong: sending it to another worker would waste its time."""
    body = refusal("CheckpointLoaderSimple", "value_not_in_list", "ckpt_name")
    body["node_errors"] |= {"2": refusal("KSampler", "required_input_missing", "seed")["node_errors"]["1"]}
    assert type(comfyui_failures.of_refusal(body)) is GraphRefused


def test_a_refusal_quotes_model_files_and_nothing_else() -> None:
    """A value may be a user's words; the name of a model file is what an operator needs."""
    secret = refusal("CLIPTextEncode", "invalid_input_type", "text", received_value="a private wish")
    missing = refusal("LoraLoader", "value_not_in_list", "lora_name", received_value="style.safetensors")
    assert "private" not in comfyui_failures.of_refusal(secret).detail
    assert "style.safetensors" in comfyui_failures.of_refusal(missing).detail


def test_a_history_without_a_reason_is_a_node_failure() -> None:
    """Whatever ComfyUI forgets to say, the job still ends in a typed failure."""
    assert type(comfyui_failures.of_history({"status": {"status_str": "error"}})) is NodeFailed
    assert type(comfyui_failures.of_history({})) is NodeFailed


#: Only where ComfyUI never ran the job, lost it, or may itself be at fault.
RETRYABLE = {CheckpointMissing, ModelUnreadable, OutOfMemory, DiskFull, ComfyUIUnreachable, ComfyUIDied}


def test_every_failure_has_a_code_of_its_own_and_retries_only_what_another_worker_could_do_better() -> None:
    """Two kinds with one code could not be told apart in an event."""
    kinds = [
        kind
        for _, kind in inspect.getmembers(ports, inspect.isclass)
        if issubclass(kind, RenderError) and kind is not RenderError
    ]
    assert len({kind.code for kind in kinds}) == len(kinds) == 12
    assert {kind for kind in kinds if kind.retryable} == RETRYABLE


def test_f4_what_a_user_reads_is_fixed_by_the_code() -> None:
    """No detail of a failure can reach a sentence."""
    error = NodeFailed("/opt/ComfyUI/nodes.py: Traceback, 'a private wish'")
    assert error.info().message == error.sentence == ErrorCode.NODE_ERROR.sentence
    assert error.info().code == "node_error"


@pytest.mark.parametrize("stuck", [True, False])
def test_f5_only_a_stuck_renderers_job_may_be_tried_again(stuck: bool) -> None:
    """A job that was merely too slow would be too slow again; a ComfyUI that hangs is itself at fault."""
    assert DeadlineExceeded("late", stuck=stuck).info().retryable is stuck


def test_no_images_is_final() -> None:
    """A workflow that saves nothing saves nothing anywhere."""
    assert not NoImages("none").info().retryable
