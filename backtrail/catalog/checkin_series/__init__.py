"""Weeks that were made up on the fly become assignments that exist, one for each week of a check-in series."""
