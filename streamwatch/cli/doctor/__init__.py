"""`streamwatch doctor`: would it work here?"""
