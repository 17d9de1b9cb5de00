"""`pgmux top`: a pooler's console as tables that follow it, in a terminal.

`watch` keeps the newest sample and the last minutes; `panes` makes tables of it, `head` the lines
above them, `figures` the text of numbers. What shows them: `once` (rich, or JSON) ends at once;
`app` stays, with `screens` of a `grid` each (textual, which is imported there alone).
"""
