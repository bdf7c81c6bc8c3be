"""``python -m services.notifier``: run the stage until SIGTERM."""

from services.notifier.app import main

main()
