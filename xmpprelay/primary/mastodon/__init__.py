"""Servers with Mastodon's API, each with what is its own."""
