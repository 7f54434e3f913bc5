"""Reading rosbag2's sqlite3 files, through SQLite where it can and page by page where not."""
