"""The tables and figures of both papers, and our own studies: what is run, on what, and what is shown.

`catalogue.ITEMS` lists them; `running.run_missing` does the runs that are missing; `tables` and `figures`
show the finished ones.
"""
