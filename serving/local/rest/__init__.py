"""TensorFlow Serving's REST API: HTTP, and JSON as it reads and writes it."""
