"""TensorFlow Serving's wire protocol: serving.proto and what is generated from it."""
