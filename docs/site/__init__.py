"""What the documentation derives from the tables: the reference pages, and the site's configuration."""
