"""Sessions become entries and goals destinations; profiles and coaching relationships are enhanced."""
