"""moderator: approves or rejects each request, by the policy and its user's daily quota.

Consumes: requests, delivered
Produces: moderated
State: decisions and quotas of two days, read back from ``moderated`` and ``delivered`` for the owned partitions
Delivery: at least once; a request that comes again gets the decision that it had, and counts once; one that brings no
    images gives its quota back, whatever ended it: a failure, a full queue, its expiry, its user
Failures: what cannot be decided is rejected with ``internal_error``, so that its user hears of it, then dead-lettered
"""
