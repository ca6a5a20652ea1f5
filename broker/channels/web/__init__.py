"""Channel: web pages and the HTTP API. Renders and receives; the one verb inward is desk.review."""
