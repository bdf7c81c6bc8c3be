"""``python -m services.audit``: the same as ``distillery audit``."""

from __future__ import annotations

from services.audit.cli import audit

audit(prog_name="distillery audit")
