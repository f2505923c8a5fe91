"""Expression QTL in cis: scan, beta approximation, q-values, independent signals."""
