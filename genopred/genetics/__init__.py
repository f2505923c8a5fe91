"""What a population says. Arrays in, arrays out."""
