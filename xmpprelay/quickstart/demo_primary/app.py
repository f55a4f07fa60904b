"""The server, what it says about itself, and its pages."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from xmpprelay.quickstart.demo_primary import login, pages, statuses
from xmpprelay.quickstart.demo_primary.asked import (
    MAX_CHARS,
    MAX_MEDIA,
    MAX_MEDIA_BYTES,
    MEDIA_TYPES,
    OPEN,
    STORE,
    URL_CHARS,
    ApiError,
    base,
    number,
)
from xmpprelay.quickstart.demo_primary.store import DemoStore

HOST: Final = "127.0.0.1"
VERSION: Final = "4.4.0+demo"

SHOWN: Final = 50
"""Posts on the page."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
routes = web.RouteTableDef()


def app_of(store: DemoStore) -> web.Application:
    """The server, for whoever runs it."""
    app = web.Application(
        middlewares=[_headers, _errors], client_max_size=MAX_MEDIA_BYTES + (1 << 16)
    )
    app[STORE] = store
    app[login.GRANTS] = {}
    for each in (routes, login.routes, statuses.routes):
        app.add_routes(each)
    return app


@web.middleware
async def _headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.headers.update(pages.HEADERS)
    return response


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return web.json_response(error.body, status=error.status)
    except web.HTTPException as error:
        return web.json_response({"error": error.reason}, status=error.status)


@routes.get("/.well-known/nodeinfo")
async def _nodeinfo_links(request: web.Request) -> web.Response:
    rel = "http://nodeinfo.diaspora.software/ns/schema/2.0"
    return web.json_response({"links": [{"rel": rel, "href": f"{base(request)}/nodeinfo/2.0"}]})


@routes.get("/nodeinfo/2.0")
async def _nodeinfo(request: web.Request) -> web.Response:
    del request
    return web.json_response(
        {
            "version": "2.0",
            "software": {"name": "mastodon", "version": VERSION},
            "protocols": [],
            "services": {"inbound": [], "outbound": []},
            "openRegistrations": False,
            "usage": {"users": {}},
            "metadata": {"nodeDescription": "The demo primary of xmpprelay's quickstart"},
        }
    )


@routes.get("/api/v1/instance")
@routes.get("/api/v2/instance")
async def _instance(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "domain": request.host,
            "uri": request.host,
            "title": "The demo primary",
            "version": VERSION,
            "configuration": {
                "statuses": {
                    "max_characters": MAX_CHARS,
                    "max_media_attachments": MAX_MEDIA,
                    "characters_reserved_per_url": URL_CHARS,
                },
                "media_attachments": {
                    "supported_mime_types": list(MEDIA_TYPES),
                    "image_size_limit": MAX_MEDIA_BYTES,
                },
            },
        }
    )


@routes.get("/")
async def _page(request: web.Request) -> web.Response:
    store = request.app[STORE]
    text = pages.timeline(store.page(shows=("public",), limit=SHOWN), store.count())
    headers = {"Refresh": str(pages.FRESH_S)}
    return web.Response(text=text, content_type="text/html", headers=headers)


@routes.get(r"/@{name}/{id:\d+}")
async def _one(request: web.Request) -> web.Response:
    kept = request.app[STORE].status(number(request.match_info["id"]))
    if kept is None or kept.visibility not in OPEN or kept.name != request.match_info["name"]:
        page = pages.refused("There is no such post.")
        return web.Response(text=page, content_type="text/html", status=404)
    return web.Response(text=pages.one(kept), content_type="text/html")


@routes.get(r"/media/{id:\d+}")
async def _file(request: web.Request) -> web.Response:
    found = request.app[STORE].media(number(request.match_info["id"]))
    if found is None:
        raise ApiError(404, "Record not found")
    return web.Response(body=found[1], content_type=found[0])
