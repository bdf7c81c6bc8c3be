"""notifier: tells each user how far the request is, and how it ended, in one Discord message.

Consumes: moderated, completed, progress
Produces: delivered
State: which requests have been answered, read back from ``delivered`` for the owned partitions
Delivery: at least once; an edit gives the same message again, the channel message carries an enforced nonce
Failures: while Discord is away the offset stays; what Discord refuses for good ends as UNDELIVERABLE in ``delivered``
"""
