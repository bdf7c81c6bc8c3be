"""Loopback stand-ins for Discord and ComfyUI, for the demo and the tests; no stage knows of them."""
