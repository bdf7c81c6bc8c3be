"""The chaos proof: the whole chain under a seeded schedule of faults, and a checker of what it left behind."""
