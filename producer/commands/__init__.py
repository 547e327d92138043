"""The commands of the program, by what they are for; `producer/cli.py` puts them together."""
