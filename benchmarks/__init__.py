"""How fast the stages are and how much memory they take."""
