"""What follows from measurements: objectives met or missed, the knee, whether two runs differ."""
