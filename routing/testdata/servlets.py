"""Tells what Synapse's processes serve, as Synapse itself decides it.

Each kind of process is made in memory from a configuration: its class is that of
the program (synapse.app.homeserver, synapse.app.generic_worker), whose own method
mounts the resources of a listener and registers the servlets. What needs a
database or the network is replaced by mocks; where a listener would be opened,
the tree of resources is taken instead. Nothing is started.

The first line on standard output is a JSON object: the release, the features
turned on, the kinds of processes with what they mount and register, and sample
requests made from the servlets' patterns. After that every line of standard
input is a question, [kind, method, target] with the target in base64, and is
answered with a line, [mount, servlet, status]: where the way ends that Twisted's
Site goes for the bytes of such a request, as the path of the last resource on it
that is mounted; the class of the servlet that it finds; and 200 when that takes
the method, else 405 or 404. Status 0 is a request that Twisted itself refuses.
"""

import base64
import importlib
import importlib.util
import itertools
import json
import logging
import re
import sys
from unittest import mock

from twisted.internet.testing import StringTransport
from twisted.web.server import Request, Site

import synapse
import synapse.app.generic_worker
import synapse.app.homeserver
import synapse.rest
from synapse.api.errors import UnrecognizedRequestError
from synapse.config.homeserver import HomeServerConfig
from synapse.http.server import JsonResource, UnrecognizedRequestResource
from synapse.http.site import SynapseRequest

parse = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")

# The optional library for SAML is imported by resources, and does nothing here.
for name in ("saml2", "saml2.metadata", "saml2.config", "saml2.client", "saml2.response"):
    sys.modules[name] = mock.MagicMock()

# What a homeserver.yaml says so that every optional endpoint is there. Features
# that are experimental are found in the parsed configuration, see features.
SETTINGS = {
    "server_name": "example.com",
    "public_baseurl": "https://matrix.example.com/",
    "report_stats": False,
    "suppress_key_server_warning": True,
    "signing_key": "ed25519 a_lPym qvioDNmfExFBRPgdTU+wtFYKq4JfwFRv7sYVgWvmgJg",
    "macaroon_secret_key": "x",
    "registration_shared_secret": "x",
    "form_secret": "x",
    "enable_metrics": True,
    "media_store_path": "/nonexistent",
    "database": {"name": "sqlite3", "args": {"database": ":memory:"}},
    "email": {"smtp_host": "localhost", "notif_from": "x <x@example.com>"},
    "retention": {"enabled": True},
    "federation_whitelist_endpoint_enabled": True,
    "max_event_delay_duration": "24h",
}

# Where login is Synapse's own.
WITH_LOGIN = {
    "refreshable_access_token_lifetime": "5m",
    "login_via_existing_session": {"enabled": True, "require_ui_auth": False},
    "cas_config": {"enabled": True, "server_url": "https://cas.example.com"},
    "account_validity": {"enabled": True, "period": "6w", "renew_at": "1w"},
}

# Where it is Matrix Authentication Service's.
WITH_MAS = {
    "matrix_authentication_service": {"enabled": True, "endpoint": "http://localhost:8080", "secret": "x"},
    "enable_registration": False,
    "password_config": {"enabled": False},
}

# The kinds of processes: whether it is a worker, the resources of its listener,
# and whether it has the media repository, which in a deployment with media
# workers only they have.
KINDS = {
    "main": (False, ["client", "federation", "static", "metrics", "replication"], True),
    "main without media": (False, ["client", "federation"], False),
    "client": (True, ["client"], False),
    "federation": (True, ["federation"], False),
    "media": (True, ["media"], True),
}


def configure(kind, mas):
    """Reads the configuration that a process of that kind would have."""
    worker, resources, media = KINDS[kind]
    listeners = [{"type": "http", "port": 8000, "resources": [{"names": resources}]}]
    settings = {**SETTINGS, **(WITH_MAS if mas else WITH_LOGIN), "enable_media_repo": media}
    if worker:
        settings |= {
            "worker_app": "synapse.app.generic_worker",
            "worker_name": "worker",
            "worker_listeners": listeners,
            "instance_map": {"main": {"host": "localhost", "port": 9093}},
        }
    else:
        settings["listeners"] = listeners
    config = HomeServerConfig()
    config.parse_config_dict(settings, "", "")
    for feature in features(config):
        setattr(config.experimental, feature, True)
    # What needs libraries or files to be set up is turned on afterwards.
    if media:
        config.media.url_preview_enabled = True
    if not mas:
        config.saml2.saml2_enabled, config.saml2.saml2_sp_config = True, mock.MagicMock()
        config.oidc.oidc_providers = (mock.MagicMock(),)
    return config


def features(config):
    """Names what a configuration leaves off of the experimental features.

    MSC3861 was the first form of delegated login; it excludes the others."""
    return sorted(
        name
        for name, value in vars(config.experimental).items()
        if name.startswith("msc") and value is False and name != "msc3861"
    )


# Stands in for whatever would work. One for all: they are slow to make.
STAND_IN = mock.MagicMock()


def process(program):
    """Makes a class of homeserver that mounts its resources as program does and
    has mocks in place of everything that would work."""

    class Process(program):
        def __init__(self, config):
            self.config = config
            self.hostname = config.server.server_name
            self._module_web_resources = {}

        def __getattribute__(self, name):
            if name == "get_auth" and self.config.mas.enabled:  # its class is asked for
                return lambda: mock.MagicMock(spec=synapse.api.auth.mas.MasDelegatedAuth)
            if name.startswith("get_") and name != "get_media_repository_resource":
                return STAND_IN
            return super().__getattribute__(name)

        def __getattr__(self, name):
            if name.startswith("_"):  # what it keeps for itself
                raise AttributeError(name)
            return STAND_IN

    return Process


def build(kind, mas):
    """Returns the root of the resources on the listener of a process."""
    config = configure(kind, mas)
    # A process with the media repository leaves its servlets here, and there is
    # one process only in a real deployment.
    synapse.rest.SERVLET_GROUPS.pop("media", None)
    taken = []
    take = lambda *arguments, **named: taken.append(arguments[2]) or []
    if KINDS[kind][0]:
        module, name = synapse.app._base, "_listen_http"
        program, listener = synapse.app.generic_worker.GenericWorkerServer, config.worker.worker_listeners[0]
        arguments = (listener,)
    else:
        module, name = synapse.app.homeserver, "_listener_http"
        program, listener = synapse.app.homeserver.SynapseHomeServer, config.server.listeners[0]
        arguments = (config, listener)
    with mock.patch.object(module, "listen_http", take):
        getattr(process(program)(config), name)(*arguments)
    (root,) = taken
    return root


def walk(resource, path=""):
    """Yields the resources of a tree with their paths, the stand-ins for mere
    directories left out."""
    if not isinstance(resource, UnrecognizedRequestResource):
        yield path, resource
    for name, child in sorted(getattr(resource, "children", {}).items()):
        yield from walk(child, path + "/" + name.decode())


def methods(resource):
    """Names the methods that a resource other than a JsonResource answers."""
    return sorted(
        {
            name[len(prefix) :]
            for prefix in ("_async_render_", "render_")
            for name in dir(resource)
            if name.startswith(prefix) and name[len(prefix) :].isupper()
        }
        - {"HEAD", "OPTIONS"}
    )


def describe(root):
    """Lists what a tree mounts, and the servlets in it."""
    mounts, servlets = {}, []
    for path, resource in walk(root):
        mounts[path] = type(resource).__name__
        if isinstance(resource, JsonResource):
            for pattern, by_method in resource._routes.items():
                for method, entry in by_method.items():
                    servlets.append([path, method.decode(), pattern.pattern, entry.servlet_classname])
        elif path and not isinstance(resource, UnrecognizedRequestResource):
            for method in methods(resource):
                below = "(/.*)?" if resource.isLeaf else ""
                servlets.append([path, method, "^" + re.escape(path) + below + "$", type(resource).__name__])
    return {"mounts": mounts, "servlets": servlets}


FILLINGS = ("x", "!x")


def samples(pattern):
    """Returns paths that fit a pattern, one for each combination of what it
    offers to choose from; a free part is filled with a word, or with one that
    looks like the id of a room."""
    paths = []
    for filling in FILLINGS:
        for parts in expand(parse.parse(pattern), filling):
            path = "".join(parts)
            if re.match(pattern, path) and path not in paths:
                paths.append(path)
    if not paths:
        raise ValueError(f"no path could be made that fits {pattern}")
    return paths


def expand(parsed, filling):
    """Yields the ways to write a parsed expression out, as lists of parts."""
    for choices in itertools.product(*(list(choose(token, filling)) for token in parsed)):
        yield [part for choice in choices for part in choice]


def choose(token, filling):
    """Yields what one token of a parsed expression may stand for."""
    operator, argument = token
    match str(operator):
        case "LITERAL":
            yield [chr(argument)]
        case "AT" | "ASSERT" | "ASSERT_NOT":
            yield []
        case "ANY":  # most often a dot that was not escaped
            yield ["."]
        case "NOT_LITERAL":
            yield [filling]
        case "IN":
            yield from choose_in(argument, filling)
        case "BRANCH":
            for branch in argument[1]:
                yield from expand(branch, filling)
        case "SUBPATTERN":
            yield from expand(argument[3], filling)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, repeated = argument
            if most == 1 and least == 0:
                yield []
            if str(repeated[0][0]) == "ANY":
                yield [filling]
            else:
                yield from expand(repeated, filling)
        case _:
            raise ValueError(f"unknown in an expression: {operator}")


def choose_in(members, filling):
    """Yields what a set of characters may stand for: the filling when it is
    large, else each of them."""
    if all(str(operator) == "LITERAL" for operator, _ in members):
        yield from ([chr(value)] for _, value in members)
    else:
        yield [filling]


class Asked(Request):
    """A request that remembers the resource it would be rendered by."""

    found = None

    def render(self, resource):
        Asked.found = (self, resource)


# SynapseRequest adds limits and logs, and leaves to Twisted where a path leads.
assert SynapseRequest.process is Request.process


class Tree:
    """A process's tree of resources, which can be asked."""

    def __init__(self, root):
        self.site = Site(root, reactor=mock.MagicMock())
        self.site.requestFactory = Asked
        self.paths = {tuple(path.split("/")[1:]) for path, _ in walk(root)}

    def ask(self, method, target):
        Asked.found = None
        channel = self.site.buildProtocol(None)
        channel.makeConnection(StringTransport())
        channel.dataReceived(method + b" " + target + b" HTTP/1.1\r\nHost: matrix.example.com\r\n\r\n")
        if Asked.found is None:
            return [None, None, 0]
        request, resource = Asked.found
        return [self.mount(request), *answer(request, resource)]

    def mount(self, request):
        """The path of the last mounted resource on the way of a request. The
        root of the main process is its own child for segments without a name."""
        names = [name.decode("latin-1") for name in request.prepath]
        names = list(itertools.dropwhile(lambda name: name == "", names))
        while tuple(names) not in self.paths:
            names.pop()
        return "/" + "/".join(names)


def answer(request, resource):
    """The servlet of a resource that takes a request, and the status."""
    if isinstance(resource, JsonResource):
        try:
            _, servlet, _ = resource._get_handler_for_request(request)
        except UnrecognizedRequestError as error:
            return None, error.code
        except UnicodeDecodeError:  # bytes beyond ASCII, which Synapse answers with 500
            return None, 404
        return servlet, 200
    name = type(resource).__name__
    if isinstance(resource, UnrecognizedRequestResource) or name in ("NoResource", "_UnsafeNoResource"):
        return None, 404
    method = "GET" if request.method == b"HEAD" else request.method.decode("latin-1")
    return (name, 200) if method in methods(resource) else (name, 405)


def main():
    logging.disable(logging.CRITICAL)
    trees, said = {}, {"release": synapse.__version__.split()[0], "features": enabled(), "kinds": {}, "samples": {}}
    delegates = importlib.util.find_spec("synapse.config.mas") is not None  # since 1.136
    for mas, kind in itertools.product((False, True)[: 1 + delegates], KINDS):
        name = kind + " with MAS" if mas else kind
        root = build(kind, mas)
        trees[name] = Tree(root)
        said["kinds"][name] = describe(root)
    for kind in said["kinds"].values():
        for _, _, pattern, _ in kind["servlets"]:
            if pattern not in said["samples"]:
                said["samples"][pattern] = samples(pattern)
    print(json.dumps(said), flush=True)
    for line in sys.stdin:
        kind, method, target = json.loads(line)
        print(json.dumps(trees[kind].ask(method.encode(), base64.b64decode(target))), flush=True)


def enabled():
    """Names the experimental features that configure turns on."""
    config = HomeServerConfig()
    config.parse_config_dict({**SETTINGS, "listeners": []}, "", "")
    return features(config)


if __name__ == "__main__":
    main()
