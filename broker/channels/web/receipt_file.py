"""The receipt of a request that was released, as a file: for whoever may see the request."""

from __future__ import annotations

from litestar import Response, get
from litestar.params import FromPath

from broker.channels.web.detail import seen
from broker.channels.web.parts import Web
from broker.channels.web.visitors import AnyRequest, visitor
from broker.domain.requests import ApprovalRequest
from broker.errors import WrongMove


@get("/r/{request_id:str}/receipt", include_in_schema=False)
async def receipt_file(request: AnyRequest, request_id: FromPath[str]) -> Response[bytes]:
    """The receipt, to be saved."""
    web = Web.of(request)
    return receipt_of(web, await seen(web, visitor(request), request_id))


def receipt_of(web: Web, found: ApprovalRequest) -> Response[bytes]:
    """Raises `WrongMove` for a request that was never released: nothing ran that could be proved."""
    if found.claim is None or web.parts.receipt is None:
        raise WrongMove("there is no receipt: the call was not released", request=found.id, state=str(found.state))
    headers = {"content-disposition": f'attachment; filename="{found.id}.jwt"'}
    return Response(web.parts.receipt(found).encode(), media_type="application/jwt", headers=headers)


ROUTES = (receipt_file,)
