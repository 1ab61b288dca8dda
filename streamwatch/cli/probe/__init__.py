"""`streamwatch probe`: small questions to an endpoint, and how well its streams keep the protocol."""
