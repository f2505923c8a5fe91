"""One page per workflow: tables in, words, figures and a page out."""
