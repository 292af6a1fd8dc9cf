"""How the pictures of score, report, card and fit look: one style and the settings of matplotlib for it."""
