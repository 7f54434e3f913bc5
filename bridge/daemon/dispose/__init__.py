"""Sources after the upload: kept, moved, deleted, quarantined."""
