"""Ready observers for a client: opentelemetry.Tracing and prometheus.Metrics."""
