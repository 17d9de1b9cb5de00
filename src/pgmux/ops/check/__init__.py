"""`pgmux check`: the doctor. What is known is `evidence`, what is wrong with it `rules` say."""
