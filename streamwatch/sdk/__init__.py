"""Everything that knows `openai`: where its streams are read, and what its objects look like."""
