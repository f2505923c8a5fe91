"""Predict gene expression from genotype, and say honestly how well."""
