"""The node classes that the loopback ComfyUI knows, in the shape of ComfyUI's ``/object_info``.

Pure.  Names, types, ranges and defaults are those of ComfyUI 0.3.64; its tooltips are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: One input: its type (or the list of its choices) and its options, as ComfyUI writes them.
Spec = list[Any]
#: ``/object_info``: class name -> description.
Catalogue = dict[str, dict[str, Any]]

_SAMPLERS = (
    "euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 dpm_2 dpm_2_ancestral lms dpm_fast "
    "dpm_adaptive dpmpp_2s_ancestral dpmpp_2s_ancestral_cfg_pp dpmpp_sde dpmpp_sde_gpu dpmpp_2m dpmpp_2m_cfg_pp "
    "dpmpp_2m_sde dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm "
    "ipndm ipndm_v deis res_multistep res_multistep_cfg_pp res_multistep_ancestral res_multistep_ancestral_cfg_pp "
    "gradient_estimation gradient_estimation_cfg_pp er_sde seeds_2 seeds_3 sa_solver sa_solver_pece ddim uni_pc "
    "uni_pc_bh2"
).split()
_SCHEDULERS = (
    "simple sgm_uniform karras exponential ddim_uniform beta normal linear_quadratic kl_optimal".split()
)
_CROPS = ["disabled", "center"]
_SIZE = {"default": 512, "min": 1, "max": 16384, "step": 1}
_LATENT_SIZE = {"default": 512, "min": 16, "max": 16384, "step": 8}
_BATCH = {"default": 1, "min": 1, "max": 4096}
_STRENGTH = {"default": 1.0, "min": -100.0, "max": 100.0, "step": 0.01}
_HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}

#: Which input of which class lists files, and of what kind.
_FILE_LISTS = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("LoraLoader", "lora_name"): "loras",
    ("LoadImage", "image"): "inputs",
}


def catalogue(checkpoints: Iterable[str], loras: Iterable[str], inputs: Iterable[str]) -> Catalogue:
    """Every node class, its file lists holding the files that are there now."""
    files = {"checkpoints": list(checkpoints), "loras": list(loras), "inputs": list(inputs)}
    result = {}
    for name, description in _NODES.items():
        required = dict(description["input"]["required"])
        for (class_type, field), kind in _FILE_LISTS.items():
            if class_type == name:
                required[field] = [files[kind], *required[field][1:]]
        result[name] = {**description, "input": {**description["input"], "required": required}}
    return result


def _node(
    name: str,
    required: dict[str, Spec],
    outputs: str = "",
    *,
    title: str = "",
    category: str = "sandbox",
    module: str = "nodes",
    output_node: bool = False,
    hidden: dict[str, str] | None = None,
) -> tuple[str, dict[str, Any]]:
    types = outputs.split()
    groups: dict[str, Any] = {"required": required}
    if hidden:
        groups["hidden"] = hidden
    return name, {
        "input": groups,
        "input_order": {group: list(fields) for group, fields in groups.items()},
        "output": types,
        "output_is_list": [False] * len(types),
        "output_name": types,
        "name": name,
        "display_name": title or name,
        "description": "",
        "python_module": module,
        "category": category,
        "output_node": output_node,
    }


def _link(kind: str) -> Spec:
    return [kind, {}]


_NODES: Catalogue = dict(
    [
        _node(
            "CheckpointLoaderSimple",
            {"ckpt_name": [[], {}]},
            "MODEL CLIP VAE",
            title="Load Checkpoint",
            category="loaders",
        ),
        _node(
            "LoraLoader",
            {
                "model": _link("MODEL"),
                "clip": _link("CLIP"),
                "lora_name": [[], {}],
                "strength_model": ["FLOAT", _STRENGTH],
                "strength_clip": ["FLOAT", _STRENGTH],
            },
            "MODEL CLIP",
            title="Load LoRA",
            category="loaders",
        ),
        _node(
            "CLIPSetLastLayer",
            {
                "clip": _link("CLIP"),
                "stop_at_clip_layer": ["INT", {"default": -1, "min": -24, "max": -1, "step": 1}],
            },
            "CLIP",
            title="CLIP Set Last Layer",
            category="conditioning",
        ),
        _node(
            "CLIPTextEncode",
            {"text": ["STRING", {"multiline": True, "dynamicPrompts": True}], "clip": _link("CLIP")},
            "CONDITIONING",
            title="CLIP Text Encode (Prompt)",
            category="conditioning",
        ),
        _node(
            "EmptyLatentImage",
            {"width": ["INT", _LATENT_SIZE], "height": ["INT", _LATENT_SIZE], "batch_size": ["INT", _BATCH]},
            "LATENT",
            title="Empty Latent Image",
            category="latent",
        ),
        _node(
            "KSampler",
            {
                "model": _link("MODEL"),
                "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}],
                "steps": ["INT", {"default": 20, "min": 1, "max": 10000}],
                "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}],
                "sampler_name": [_SAMPLERS, {}],
                "scheduler": [_SCHEDULERS, {}],
                "positive": _link("CONDITIONING"),
                "negative": _link("CONDITIONING"),
                "latent_image": _link("LATENT"),
                "denoise": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}],
            },
            "LATENT",
            category="sampling",
        ),
        _node(
            "RepeatLatentBatch",
            {"samples": _link("LATENT"), "amount": ["INT", {"default": 1, "min": 1, "max": 64}]},
            "LATENT",
            title="Repeat Latent Batch",
            category="latent/batch",
        ),
        _node(
            "LatentUpscale",
            {
                "samples": _link("LATENT"),
                "upscale_method": [["nearest-exact", "bilinear", "area", "bicubic", "bislerp"], {}],
                "width": ["INT", {"default": 512, "min": 0, "max": 16384, "step": 8}],
                "height": ["INT", {"default": 512, "min": 0, "max": 16384, "step": 8}],
                "crop": [_CROPS, {}],
            },
            "LATENT",
            title="Upscale Latent",
            category="latent",
        ),
        _node(
            "VAEDecode",
            {"samples": _link("LATENT"), "vae": _link("VAE")},
            "IMAGE",
            title="VAE Decode",
            category="latent",
        ),
        _node(
            "VAEEncode",
            {"pixels": _link("IMAGE"), "vae": _link("VAE")},
            "LATENT",
            title="VAE Encode",
            category="latent",
        ),
        _node(
            "LoadImage",
            {"image": [[], {"image_upload": True}]},
            "IMAGE MASK",
            title="Load Image",
            category="image",
        ),
        _node(
            "ImageScale",
            {
                "image": _link("IMAGE"),
                "upscale_method": [["nearest-exact", "bilinear", "area", "bicubic", "lanczos"], {}],
                "width": ["INT", {"default": 512, "min": 0, "max": 16384, "step": 1}],
                "height": ["INT", {"default": 512, "min": 0, "max": 16384, "step": 1}],
                "crop": [_CROPS, {}],
            },
            "IMAGE",
            title="Upscale Image",
            category="image/upscaling",
        ),
        _node(
            "EmptyImage",
            {
                "width": ["INT", _SIZE],
                "height": ["INT", _SIZE],
                "batch_size": ["INT", _BATCH],
                "color": ["INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}],
            },
            "IMAGE",
            category="image",
        ),
        _node(
            "SolidMask",
            {
                "value": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}],
                "width": ["INT", _SIZE],
                "height": ["INT", _SIZE],
            },
            "MASK",
            category="mask",
            module="comfy_extras.nodes_mask",
        ),
        _node(
            "SaveImage",
            {"images": _link("IMAGE"), "filename_prefix": ["STRING", {"default": "ComfyUI"}]},
            title="Save Image",
            category="image",
            output_node=True,
            hidden=_HIDDEN,
        ),
        _node(
            "PreviewImage",
            {"images": _link("IMAGE")},
            title="Preview Image",
            category="image",
            output_node=True,
            hidden=_HIDDEN,
        ),
        _node(
            "SaveImageWebsocket",
            {"images": _link("IMAGE")},
            category="api/image",
            module="custom_nodes.websocket_image_save",
            output_node=True,
        ),
    ]
)
