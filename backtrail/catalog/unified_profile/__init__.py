"""Profiles per context become one profile per user and one intent per context."""
