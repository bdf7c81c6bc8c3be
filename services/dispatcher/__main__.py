"""``python -m services.dispatcher``: run the stage until SIGTERM."""

from services.dispatcher.app import main

main()
