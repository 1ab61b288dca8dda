"""What several commands and the demo share: metrics that were scraped, and tables of them."""
