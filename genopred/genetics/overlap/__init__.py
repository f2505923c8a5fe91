"""Do two rankings of SNPs pick the same SNPs, more than chance and linkage disequilibrium make them?"""
