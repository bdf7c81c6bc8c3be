"""notifier: tells each user how their request stands and how it ended, by editing the bot's original response.

Consumes: moderated, completed, progress
Produces: delivered
State: the requests delivered within two days, read back from ``delivered`` for the owned partitions; what each open
    message shows, and the notes of open requests (read back from ``moderated``), for the rest
Delivery: at least once; a final edit is repeatable, a channel message carries an enforced nonce, and ``delivered``
    is written after the one and before the acknowledgement
Failures: Discord or the object store away keeps that request's offset and lets others pass; what Discord refuses for
    good ends in ``delivered`` with the method UNDELIVERABLE
"""
