"""The common parts of several commands and the demo: metrics that were scraped, and tables of them."""
