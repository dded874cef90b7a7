"""What compare.py is made of: programs to run, measurements of them, and what is written about these."""
