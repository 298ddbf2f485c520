"""Generators: parts of the charts, tables of the documentation, the scaling simulation, golden files of the tests."""
