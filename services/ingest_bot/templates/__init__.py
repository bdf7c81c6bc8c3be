"""The template engine: a folder with ``graph.json`` and ``manifest.yaml`` is a workflow; adding one needs no code."""
