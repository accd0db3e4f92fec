"""The same hello, in Python: a class that answers wasi:http's incoming handler."""

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.environment import get_environment
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        path = (request.path_with_query() or "/").split("?")[0]
        if path == "/healthz":
            return answer(response_out, 200, "ok\n")
        print(f"GET {path}", flush=True)
        if path == "/":
            return answer(response_out, 200, hello())
        return answer(response_out, 404, f"nothing at {path}\n")


def hello() -> str:
    environment = dict(get_environment())
    greeting = environment.get("GREETING", "Hello!")
    pod = environment.get("POD_NAME", "nobody in particular")
    return f"{greeting}\nI am {pod}.\n"


def answer(response_out: ResponseOutparam, status: int, text: str) -> None:
    headers = Fields.from_list([("content-type", b"text/plain; charset=utf-8")])
    response = OutgoingResponse(headers)
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    # The stream must be closed before its body is.
    with body.write() as stream:
        stream.blocking_write_and_flush(text.encode())
    OutgoingBody.finish(body, None)
