"""What the daemon reports, as values, and who hears it."""
