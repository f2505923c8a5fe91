"""One file per workflow: read, align, compute, write."""
