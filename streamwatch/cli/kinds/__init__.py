"""`streamwatch kinds` and `streamwatch explain`: what a kind of anomaly is, and an error text."""
