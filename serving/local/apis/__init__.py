"""What a loaded version is asked: TensorFlow Serving's APIs, and its messages for them."""
