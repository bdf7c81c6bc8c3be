"""``python -m services.ingest_bot``: run the stage until SIGTERM."""

from services.ingest_bot.app import main

main()
