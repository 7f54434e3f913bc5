"""From files in watched folders to recordings that are complete and identified."""
