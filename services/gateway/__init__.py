"""HTTP and JSON for the browser: the page, and the routes it calls."""
