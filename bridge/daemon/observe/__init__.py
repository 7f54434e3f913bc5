"""What people and programs see of the daemon: metrics, health, pages, logs, notifications."""
