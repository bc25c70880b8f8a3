"""What the middlewares of resilience are worth, by simulation: see docs/simulations.md."""
