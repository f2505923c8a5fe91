"""Files to types and back. Reads and writes, never computes."""
