"""Tests of the operator and its stacks on a real cluster; all skipped without one. See docs/development.md."""
