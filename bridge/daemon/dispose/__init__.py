"""What becomes of a source that is on the platform."""
