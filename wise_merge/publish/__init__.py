"""A model on the Hugging Face Hub, with its evidence: `wise-merge card` writes it down, `wise-merge push` sends it.

`merged` reads what the model is made of and `parents` what is known of its checkpoints; `privacy` keeps the machine's
paths out. `evidence` says what is known of how it scores: `of_sweep` takes that from a sweep, `evaluations` from what
`of_lm_eval` and `of_scores` read, each of it one `evaluated`, if `whose` says that it is of this model. `entries`,
`evaluation` and `card` give it the forms of the Hub; `whole` refuses a model that would not load; `contents` says
which files go, `hub` sends them.
"""
