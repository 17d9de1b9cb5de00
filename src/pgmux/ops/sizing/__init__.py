"""`pgmux size`: how many servers pools need, from what was observed at a console.

`observation` keeps what samples show, `watch` takes them; `demand` is what a pool asked for,
`queue` and `variability` the theory, `advice` what follows, `room` what PostgreSQL has for it;
`fragment` and `report` say so. docs/sizing.md is the method in words.
"""
