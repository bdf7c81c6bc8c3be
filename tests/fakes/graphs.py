"""ComfyUI graphs as a workflow has them, small enough to read."""

from __future__ import annotations

import json
from typing import Any

from services.gpu_worker.ports import RenderInput, RenderJob

CHECKPOINT = "v1-5-pruned-emaonly.safetensors"
TEXT_BINDINGS = {"seed": ["3.seed"], "filename_prefix": ["9.filename_prefix"], "batch_size": ["5.batch_size"]}
IMAGE_BINDINGS = {
    "seed": ["3.seed"],
    "filename_prefix": ["9.filename_prefix"],
    "batch_size": ["11.amount"],
    "image": ["10.image"],
}


def text_graph(
    prompt: str = "a cat", *, steps: int = 3, side: int = 64, checkpoint: str = CHECKPOINT
) -> dict[str, Any]:
    """Text to image: checkpoint, two prompts, an empty latent, a sampler, a decoder, a saver."""
    sampler = {
        "seed": 0,
        "steps": steps,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
        "model": ["4", 0],
        "positive": ["6", 0],
        "negative": ["7", 0],
        "latent_image": ["5", 0],
    }
    latent = {"width": side, "height": side, "batch_size": 1}
    return {
        "3": {"class_type": "KSampler", "inputs": sampler},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "5": {"class_type": "EmptyLatentImage", "inputs": latent},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt, "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "unbound"}},
    }


def image_graph() -> dict[str, Any]:
    """Image to image: the latent comes from an uploaded picture."""
    graph = text_graph()
    del graph["5"]
    graph["10"] = {"class_type": "LoadImage", "inputs": {"image": "unbound.png"}}
    graph["11"] = {"class_type": "RepeatLatentBatch", "inputs": {"samples": ["12", 0], "amount": 1}}
    graph["12"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    graph["3"]["inputs"] |= {"latent_image": ["11", 0], "denoise": 0.5}
    return graph


def text_job(prompt_id: str, *, images: int = 2, maybe_known: bool = False, **graph: Any) -> RenderJob:
    """A text-to-image job of its own seed and prefix; ``graph`` is handed to `text_graph`."""
    return RenderJob(
        prompt_id=prompt_id,
        graph=json.dumps(text_graph(**graph)),
        bindings=TEXT_BINDINGS,
        seed=sum(prompt_id.encode()),
        images=images,
        filename_prefix=f"distillery/{prompt_id}",
        maybe_known=maybe_known,
    )


def image_job(prompt_id: str, data: bytes) -> RenderJob:
    """An image-to-image job that starts from these bytes."""
    return RenderJob(
        prompt_id=prompt_id,
        graph=json.dumps(image_graph()),
        bindings=IMAGE_BINDINGS,
        seed=7,
        images=2,
        filename_prefix=f"distillery/{prompt_id}",
        inputs=(RenderInput(parameter="image", content_type="image/png", data=data),),
    )
