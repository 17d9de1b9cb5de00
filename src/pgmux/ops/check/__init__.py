"""`pgmux check`: the doctor. What is known is `evidence`, what is wrong with it `rules` say.

`gather/` reads `facts/`, `collected` puts them together; `judge` asks each `rule`, `report` prints.
What several rules conclude: `deployed` (which programs use this pooler), `pooled_programs` (what
those in transaction pools send), `pools` (whose servers go where), `openness` (from where the port
is reached). `outside` is --from, by a `line` to whoever answers.
"""
