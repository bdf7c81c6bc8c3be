"""ingest_bot's outside world."""
