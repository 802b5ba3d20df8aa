"""What is sent, and when: images, mix, arrivals, right answers."""
