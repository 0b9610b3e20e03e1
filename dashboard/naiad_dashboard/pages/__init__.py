"""One module a page. Each has `show(site)`, which draws what its URL says."""
