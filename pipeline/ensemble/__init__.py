"""Several finished runs as one prediction: averaged, scored, packaged. No stage imports this package.

- `members`: which runs, whether they fit each other, and how many parameters their networks have together
- `average`: the arrays of one image of several runs as those of one
- `run`: stores of averages, refined, scored and packaged by the functions of the stages
- `page`: members and ensemble on one page, with the gain over the best member
"""
