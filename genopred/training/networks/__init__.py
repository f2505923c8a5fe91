"""Networks that genopred trains: a class a file."""
