"""The notifier's outside world."""
