"""The social feed: posts, reactions, comments, shares and the activity log.

Each verb and its entry in the activity log are one transaction; inside a caller's transaction the verb joins that.
Wherever a verb or a query takes a row, it also takes the row's id.
"""
