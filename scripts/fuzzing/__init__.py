"""What scripts/fuzz_pictures.py is made of."""
