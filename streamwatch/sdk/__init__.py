"""The parts that know `openai`: where its streams are read, and what its objects look like."""
