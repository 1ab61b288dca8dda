"""The documentation that derives from the tables: the reference pages, and the site's configuration."""
