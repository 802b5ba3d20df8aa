"""A thin client for TensorFlow Serving: grpcio, protobuf and numpy, never TensorFlow."""
