"""Imports of results: files of other projects, and their translation into matches and entries."""
