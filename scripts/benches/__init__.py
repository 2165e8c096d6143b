"""What scripts/bench.py measures, a module each, and what they share."""
