"""Channel: Slack. Renders cards and receives clicks; the one verb inward is desk.review."""
