"""The dashboards and rules that come with the package, and how they are made to fit a site."""
