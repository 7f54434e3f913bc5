"""Reading MCAP files: records, chunks, indexes, and the way back after damage."""
