"""What a run is: images in, a trained and measured classifier out. TensorFlow lives here."""
