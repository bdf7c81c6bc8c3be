"""Gives any cluster the topics of ``schemas/topics``: a pure plan, and an admin client that carries it out."""
