"""What tests share: waiting, a real broker, stages as processes, and the report of what ran where."""
