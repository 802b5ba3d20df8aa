"""TensorFlow Serving in a container: how it is found and started."""
