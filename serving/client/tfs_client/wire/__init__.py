"""TensorFlow Serving's wire protocol: serving.proto, its messages, and arrays to tensors."""
