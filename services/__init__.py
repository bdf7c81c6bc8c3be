"""The stages of Distillery and what they share: see ARCHITECTURE.md."""

__version__ = "0.1.0"
