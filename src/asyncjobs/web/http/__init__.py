"""The words of HTTP itself: headers, bodies, caches, links, preferences, pages of other sites."""
