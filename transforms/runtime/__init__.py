"""What steps share while they run: threads, metrics, progress, rows packed while they wait."""
