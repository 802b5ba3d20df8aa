"""A version's folder into a version that answers, or the error TensorFlow Serving gives."""
