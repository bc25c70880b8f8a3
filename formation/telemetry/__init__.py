"""What is told of calls, and to whom; the middlewares in ``formation/middleware/`` are the thin side of it.

==================  ===============================================================================================
``lines``           the fields of a line of a log, for `request_logger`
``bound``           the fields of a call in the lines of the program itself, for `request_logger`
``conventions``     names and attributes, as OpenTelemetry wants them; pure functions of a context
``spans``           OpenTelemetry's spans and metrics, for `otel`
``metrics``         Prometheus's metrics, for `prometheus`
``meter``           counts for the dashboard, for `watched`
``measured``        what these have in common: names that are few enough to count by, and the end of a call
==================  ===============================================================================================

What a middleware says of itself, an event, is in `formation.events`.
"""
