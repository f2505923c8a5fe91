"""Enformer on many haplotypes of one window, exactly, without doing the same work twice."""
