"""What holds ``schemas/`` to its own rules, and the Python side to ``schemas/``."""
