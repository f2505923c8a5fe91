"""What a model says of a sequence."""
