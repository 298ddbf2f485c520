"""Standings of competitions, pure: rule sets as data, and the tables that follow from results by them."""
