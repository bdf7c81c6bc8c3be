"""What the scheduling core is measured against."""
