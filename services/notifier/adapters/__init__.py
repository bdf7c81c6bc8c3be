"""Implementations of the notifier's port."""
