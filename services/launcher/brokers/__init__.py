"""Brokers to run the chain on: one small class for each way to get a Kafka, all with the same few methods.

`choose.open_broker` starts the one asked for, or the best that this machine can have, and says why.
"""
