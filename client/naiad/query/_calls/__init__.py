"""The query service's calls, by what they ask for; `naiad.query.client` joins them."""
