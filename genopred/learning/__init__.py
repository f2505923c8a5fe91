"""Who learns expression from features."""
