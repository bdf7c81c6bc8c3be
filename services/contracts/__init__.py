"""The Python side of ``schemas/``: events, envelopes, codec, topics and errors.  Pure; imports nothing of ours."""
