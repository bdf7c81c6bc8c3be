"""A loopback Discord: the REST API, the gateway and a page, as far as discord.py 2.7 and a `/serve` bot need them.

It exists for the demo and the tests.  What real Discord answers is followed where it is known (codes, limits,
token life); ``/sandbox/…`` is the control surface: submit commands as a user, read messages, arm faults.
"""
