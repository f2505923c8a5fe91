"""What each workflow can be told: frozen dataclasses, every field written once, read by Python, TOML and command line."""
