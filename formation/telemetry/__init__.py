"""What is told of calls: the fields of log lines, OpenTelemetry's spans and metrics, Prometheus's metrics.

`measured` has what they share: names that are few enough to count by, and the end of a call. `meter` counts
for the dashboard. What a middleware says of itself, an event, is in `formation.events`.
"""
