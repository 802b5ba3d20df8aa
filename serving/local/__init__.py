"""The embedded model server, for development and tests: TensorFlow Serving's flags and answers."""
