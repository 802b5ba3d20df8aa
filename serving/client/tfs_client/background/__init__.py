"""What runs beside the calls: callers' functions, logs that processes share, forks."""
