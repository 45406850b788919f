"""Every route that writes ends its transaction itself."""

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.dependencies import write_session
from app.main import API_ROUTERS, WEB_ROUTERS


def asks_to_write(dependant: Dependant) -> bool:
    return any(one.call is write_session or asks_to_write(one) for one in dependant.dependencies)


def test_no_route_asks_for_a_write_session_without_ending_its_transaction(app):
    routes = [
        route
        for router in (*API_ROUTERS, *WEB_ROUTERS)
        for route in router.routes
        if isinstance(route, APIRoute)
    ]
    writing = [route for route in routes if asks_to_write(route.dependant)]
    assert len(writing) > 20
    assert [
        route.path for route in writing if not hasattr(route.endpoint, "ends_transaction")
    ] == []
