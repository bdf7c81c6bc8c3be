"""ingest_bot: turns a Discord slash command into a request, or into one sentence that says why not.

Consumes: nothing (Discord's gateway)
Produces: requests
State: none
Delivery: the request is acknowledged by the broker before Discord is answered, so an answered command is never lost
Failures: a refused command or a broker that is away is told to the user at once, and nothing is queued
"""
