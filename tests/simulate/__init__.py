"""The scheduling core against baselines and a bound, on a discrete-event clock over recorded or synthetic traffic.

``make simulate`` runs it; see ``tests/simulate/__main__.py``.
"""
