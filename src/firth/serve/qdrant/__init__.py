"""Qdrant's REST interface over firth's collections.

    bodies       what requests hold                     shapes     ids, filters, selectors, replies
    config       how a collection is made and told      collections, snapshots   routes about collections
    records      points as records                      points     routes that write and read them
    asked        a query, checked; fusion               query      routes that search
    texts        texts in place of vectors

What would change a result and is not supported is refused by name; docs/serving.md lists what differs.

Source: qdrant-client 1.20 and docs/redoc/master/openapi.json of Qdrant 1.19.
"""

from firth.serve.qdrant import collections, points, query, snapshots

ENDPOINTS = [*collections.ENDPOINTS, *snapshots.ENDPOINTS, *query.ENDPOINTS, *points.ENDPOINTS]
