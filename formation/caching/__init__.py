"""HTTP caching without I/O and without a clock: what may be stored, what may be used, and what to ask (RFC 9111).

`policy` decides; the files beside it read what it decides by: `dates`, `directives`, `freshness`, `variants`,
`validators`, `ranges`, `urls`. `entry` is what is stored; `status` tells what was done (RFC 9211).
"""
