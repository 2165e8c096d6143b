"""Killing, unplugging, filling up and damaging libraries; see ``scripts/torture.py``."""
