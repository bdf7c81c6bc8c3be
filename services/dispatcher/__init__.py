"""dispatcher: gives each approved request to a worker that has room for it, and sees it through to an end.

Consumes: moderated, completed, cancellations, workers (all of it)
Produces: dispatched, completed, jobs, progress, backlogs
State: the backlog and the jobs in flight, read back from ``jobs`` for the owned partitions
Delivery: at least once; a job's ledger record is written before the act that it announces
Failures: a lost worker or a retryable error is another attempt; the last one ends in a final ``completed``
"""
