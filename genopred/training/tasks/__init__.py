"""What networks are trained for: a task a file."""
