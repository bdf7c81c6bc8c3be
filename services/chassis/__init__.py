"""What every stage needs and nothing about any stage: settings, the Faust app, the guarded edge, logs, metrics."""
