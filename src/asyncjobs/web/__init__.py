"""The Quart extension.

Each of its parts imports from those below it only, never from one in its own line:

    extension   the decorator, and what a user's module names
    app_jobs    all that one app gets, in order
    answering   the requests that are about jobs, from their connections to their answers
    background  a stored request and its view: what is kept of it, and how it is performed
    openapi     what the OpenAPI document of an app says of its jobs
    routing     which routes are jobs, where their URLs lead, and which cannot be
    auth        for users: quart-auth's users as principals
    callers     who has sent a request, and what its job may know of that
    serving     from the start of an app to its end: configuration, lifespan, the server around it
    http        the words of HTTP: headers, bodies, caches, links, preferences, pages of other sites
    context     what an app knew of a request, as it is stored with it
    around      ours in the place of a method of the app's
    quart_side  what is private in Quart, werkzeug and hypercorn, and what differs between versions
"""

from .extension import QuartJobs, store_of

__all__ = ["QuartJobs", "store_of"]
