"""audit: shows one request's journey and what is on a topic, and sends records again; a command line, not a service.

Consumes: cancellations, completed, dead-letters, delivered, dispatched, jobs, moderated, progress, requests, workers
Produces: whatever an operator replays
State: none; it joins no consumer group and commits nothing
Delivery: a replayed record keeps its bytes, key and headers, so its effects stay idempotent
Failures: one sentence on stderr and an exit code that ``--help`` explains
"""
