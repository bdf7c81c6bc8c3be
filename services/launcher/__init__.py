"""Runs the chain on one machine: brokers, the loopback sandbox, the five stages; and one request through it."""
