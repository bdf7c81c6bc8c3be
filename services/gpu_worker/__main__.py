"""``python -m services.gpu_worker``: run the worker until SIGTERM."""

from services.gpu_worker.app import main

main()
