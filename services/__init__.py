"""The stages of Distillery and what they share: see ARCHITECTURE.md."""
