"""What long use is made of: a folder that somebody keeps changing, and programs that work on it."""
