"""Apps as people write them. `hypercorn`, `gunicorn` and `uvicorn` are pointed here by the tests."""

import flask

wsgi = flask.Flask(__name__)
wsgi.secret_key = "for tests"


@wsgi.post("/json")
def as_json():
    return {"got": flask.request.get_json(), "length": flask.request.content_length}


@wsgi.post("/form")
def as_form():
    return {"got": flask.request.form.to_dict()}


@wsgi.post("/login")
def login():
    flask.session["name"] = flask.request.form["name"]
    answer = flask.make_response("welcome")
    answer.set_cookie("colour", "blue")
    return answer


@wsgi.get("/whoami")
def whoami():
    return {"name": flask.session.get("name"), "colour": flask.request.cookies.get("colour")}


@wsgi.get("/dapr/config")
def config():
    return {}


@wsgi.post("/add")
def add():
    return "done"


async def asgi(scope, receive, send):
    """The least that an ASGI server wants of an app."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"done"})
