"""How the pictures of score, report, card and fit look: one style, and what matplotlib needs to be told."""
