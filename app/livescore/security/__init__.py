"""Authorization, limits and the policies for web pages."""
