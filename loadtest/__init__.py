"""What the deployment can carry: Locust over the client. No TensorFlow."""
