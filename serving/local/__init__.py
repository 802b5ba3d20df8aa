"""The embedded model server: TensorFlow Serving's flags, APIs and texts, for development and tests."""
