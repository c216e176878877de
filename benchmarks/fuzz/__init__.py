"""Random cases of every kind: a correct finite fit, or a sentence that says what to do."""
