"""The parts that `opentelemetry-instrument` needs to work with nothing configured."""
