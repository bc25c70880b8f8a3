"""What the resilience middlewares decide: no I/O, no sleep, and the clock is given. Pure, so easy to test."""
