"""Benchmarks: ``make bench`` runs them all against one broker in one run and writes ``build/bench.json``."""
