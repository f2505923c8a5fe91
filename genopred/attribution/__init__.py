"""Which bases of a sequence a model goes by, over captum and tangermeme; what they spell, and what lies there."""
