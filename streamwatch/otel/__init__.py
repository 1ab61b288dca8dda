"""What `opentelemetry-instrument` needs to work with nothing configured."""
