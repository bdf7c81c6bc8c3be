"""``python -m services.moderator``: run the stage until SIGTERM."""

from services.moderator.app import main

main()
