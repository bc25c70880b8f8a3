"""How fast Formation is, beside what one would write by hand and beside its peers: ``python -m bench``."""
