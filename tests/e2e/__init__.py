"""The operator and its stacks on a real cluster. See docs/development.md; without one all is skipped."""
