"""A merged model on the Hub, with its evidence: `wise-merge card` writes it down, `wise-merge push` sends it.

`merged` reads what the model is made of and `parents` what is known of its two checkpoints; `privacy` keeps the
machine's paths out; `evidence` takes the figures from the results of a sweep, `entries` and `card` give them the
forms of the Hub; `whole` refuses a model that would not load; `contents` says which files go, `hub` sends them.
"""
