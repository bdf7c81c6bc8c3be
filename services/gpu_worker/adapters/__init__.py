"""What fulfils gpu_worker's ports."""
