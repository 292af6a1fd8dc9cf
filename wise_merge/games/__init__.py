"""Problems with answers that a program can check: countdown and sudoku, made from a seed."""
