"""ingest_bot: turns a Discord slash command into a request, or into one sentence that says why not.

Consumes: nothing (Discord's gateway)
Produces: requests, cancellations
State: none that matters; what it needs is in the interaction and in the workflows that it reads at the start, and
    ``/cancel`` looks among the last requests of this process
Delivery: the broker has the request, or the cancellation, before Discord is answered, so an answered command is never
    lost; the interaction's id is the request id, so a command that Discord delivers again is the same request
Failures: a refused command, a broker or an object store that is away is told to the user at once, and nothing is
    queued; from the moment that a request is queued its message is the notifier's
"""
