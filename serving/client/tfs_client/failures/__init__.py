"""What failures mean: their classes, what is sent again and to whom, and when nothing is sent."""
