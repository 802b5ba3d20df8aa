"""What follows from measurements: objectives held or missed, the knee, whether two runs differ."""
