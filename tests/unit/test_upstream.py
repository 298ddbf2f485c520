"""Private and undocumented names of libraries: each is used behind one adapter and still exists as expected.

An adapter says why it needs such a name. When an update of a library breaks a test here, its adapter has to change.
"""

import ast
import functools
import importlib
import inspect
import pkgutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

import livescore
import livescore_operator

ROOT = Path(__file__).parents[2]

PACKAGES = (livescore, livescore_operator)

ADAPTERS = {
    "uvicorn": "livescore.uvicorn_adapter",
    "kubernetes": "livescore_operator.cluster",
}
"""Library → the one module that may use its private names."""

KEYWORDS = {"_request_timeout": "kubernetes"}
"""Private keyword arguments → the library of the functions that take them."""

UNDOCUMENTED = {
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol._start_asgi_task": ["self", "cycle", "app"],
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol._unset_keepalive_if_required": ["self"],
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.timeout_keep_alive_handler": ["self"],
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol.on_response_complete": ["self"],
    "uvicorn.protocols.http.flow_control:FlowControl.pause_reading": ["self"],
    "uvicorn.protocols.http.flow_control:FlowControl.resume_reading": ["self"],
    "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol.handle_parser_exception": ["self"],
    "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol.run_asgi": ["self"],
    "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol.send": ["self", "message"],
    "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol.stop_keepalive": ["self"],
    "redis.asyncio.sentinel:SentinelConnectionPool.get_master_address": ["self"],
    "redis.asyncio.client:PubSub.parse_response": ["self", "block", "timeout"],
    "redis.asyncio.cluster:NodesManager.aclose": ["self", "attr"],
    "redis.asyncio.cluster:RedisCluster.get_node_from_key": ["self", "key", "replica"],
    "rq.job:Job.restore": ["self", "raw_data"],
    "rq.queue:Queue.dequeue_any": [
        *("queues", "timeout", "connection", "job_class", "serializer", "death_penalty_class"),
    ],
    "rq.worker_registration:clean_worker_registry": ["queue"],
    "rq.timeouts:BaseDeathPenalty.setup_death_penalty": ["self"],
    "rq.timeouts:BaseDeathPenalty.cancel_death_penalty": ["self"],
    "rq.worker:SimpleWorker.execute_job": ["self", "job", "queue"],
    "rq.worker:SimpleWorker.get_heartbeat_ttl": ["self", "job", "working_time"],
    "rq.worker:SimpleWorker.prepare_execution": ["self", "job"],
    "rq.worker:SimpleWorker.prepare_job_execution": ["self", "job", "remove_from_intermediate_queue"],
    "rq.worker:SimpleWorker.cleanup_execution": ["self", "job", "pipeline", "execution"],
    "rq.worker:SimpleWorker.heartbeat": ["self", "timeout", "pipeline"],
    "rq.worker:SimpleWorker.register_birth": ["self"],
    "rq.worker:SimpleWorker.register_death": ["self"],
    "rq.executions:Execution.heartbeat": ["self", "started_job_registry", "ttl", "pipeline"],
    "rq.executions:ExecutionRegistry.__init__": ["self", "job_id", "connection"],
    "rq_scheduler:Scheduler.__init__": [
        *("self", "queue_name", "queue", "interval", "connection", "job_class", "queue_class", "name"),
    ],
    "rq_scheduler:Scheduler.register_birth": ["self"],
    "rq_scheduler:Scheduler.register_death": ["self"],
    "kubernetes.aio.client.api_client:ApiClient.call_api": [
        *("self", "method", "url", "header_params", "body", "post_params", "_request_timeout", "_preload_content"),
    ],
}
"""Functions that are called or overridden → their parameters."""

MEMBERS = {
    "uvicorn._types": [
        *("ASGI3Application", "ASGIReceiveCallable", "ASGISendCallable", "ASGISendEvent", "HTTPScope", "Scope"),
    ],
    "rq.job:Job": ["func", "success_callback", "failure_callback", "stopped_callback", "key_for"],
    "rq.queue:Queue": [
        *("intermediate_queue_key", "failed_job_registry", "scheduled_job_registry", "started_job_registry"),
        "redis_queues_keys",
    ],
    "rq.worker:SimpleWorker": ["dequeue_timeout", "connection_timeout", "queue_class"],
    "rq_scheduler:Scheduler": ["redis_scheduler_namespace_prefix", "scheduler_lock_key", "key"],
}
"""Modules and classes → members that are read, replaced or overridden."""

INSTANCE_ATTRIBUTES = {
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol": [
        *("cycle", "flow", "headers", "parser", "pipeline", "scope", "server_state", "transport", "url"),
    ],
    "uvicorn.protocols.http.httptools_impl:RequestResponseCycle": [
        *("chunked_encoding", "disconnected", "expected_content_length", "keep_alive", "message_event", "scope"),
        *("response_complete", "response_started"),
    ],
    "uvicorn.protocols.http.flow_control:FlowControl": ["read_paused", "write_paused"],
    "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol": [
        *("close_sent", "conn", "connections", "handshake_complete", "handshake_initiated", "initial_response"),
    ],
    "redis.asyncio.client:PubSub": ["connection"],
    "redis.asyncio.sentinel:SentinelConnectionPool": ["sentinel_manager"],
    "redis.asyncio.cluster:RedisCluster": ["nodes_manager"],
    "redis.asyncio.cluster:NodesManager": ["nodes_cache", "startup_nodes"],
}
"""Classes → attributes of their instances that are read or replaced."""

BOUNDED = ("kubernetes", "redis", "rq", "rq-scheduler", "uvicorn")
"""Libraries of which undocumented names are used: a new version needs a run of these tests first."""


def resolve(path: str) -> Any:
    """Return the object at ``module:Class.member``."""
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in filter(None, name.split(".")):
        found = inspect.getattr_static(found, part) if inspect.isclass(found) else getattr(found, part)
    return found


@pytest.mark.parametrize("path", UNDOCUMENTED)
def test_an_undocumented_function_has_the_expected_parameters(path: str) -> None:
    function = resolve(path)
    if isinstance(function, classmethod):
        function = function.__get__(None, object)
    assert list(inspect.signature(function).parameters) == UNDOCUMENTED[path]


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, names in MEMBERS.items() for name in names])
def test_an_undocumented_member_exists(path: str, name: str) -> None:
    assert hasattr(resolve(path), name)


@pytest.mark.parametrize("path", INSTANCE_ATTRIBUTES)
def test_instances_have_the_expected_attributes(path: str) -> None:
    missing = set(INSTANCE_ATTRIBUTES[path]) - instance_attributes(resolve(path))
    assert missing == set()


@pytest.mark.parametrize("library", BOUNDED)
def test_library_with_used_undocumented_names_has_an_upper_bound(library: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    requirements = [requirement for requirement in map(Requirement, listed) if requirement.name == library]
    assert requirements
    for requirement in requirements:
        assert any(specifier.operator in ("<", "<=", "==", "~=") for specifier in requirement.specifier)


def test_only_adapters_use_private_names_of_libraries() -> None:
    allowed = set(ADAPTERS.items())
    found = {(library, module.__name__, use) for module in modules() for library, use in private_uses(module)}
    assert sorted(use for use in found if use[:2] not in allowed) == []
    assert {use[:2] for use in found} == allowed  # an adapter that needs no private name any more leaves the list


def test_no_class_of_ours_hides_a_private_name_of_its_base() -> None:
    """Overriding a private name by chance breaks the base class silently."""
    hidden = {
        f"{cls.__module__}.{cls.__name__}": names
        for module in modules()
        if module.__name__ not in ADAPTERS.values()
        for cls, definition in extensions(module)
        if (names := private_definitions(definition) & upstream_names(cls).keys())
    }
    assert hidden == {}


# How private names are found


def modules() -> Iterator[ModuleType]:
    """Yield every module of the service and the operator."""
    for package in PACKAGES:
        yield package
        for entry in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not entry.name.endswith(("__main__", ".migrations.env")) and ".versions." not in entry.name:
                yield importlib.import_module(entry.name)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def library_of(module_name: str) -> str | None:
    """Return the third-party library that a module belongs to."""
    top = module_name.partition(".")[0]
    return None if top in sys.stdlib_module_names or top in ("livescore", "livescore_operator") else top


def private_uses(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Yield pairs of library and private name that a module uses, according to its text and its classes."""
    yield from uses_in_text(ast.parse(inspect.getsource(module)))
    for cls, definition in extensions(module):
        theirs = upstream_names(cls)
        for name in uses_of_self(definition) & theirs.keys():
            yield theirs[name], f"{cls.__name__}.{name}"


def uses_in_text(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield private imports, attributes of imported names, and private keyword arguments of calls."""
    origins = dict(imported_names(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            yield from private_imports(node)
        if isinstance(node, ast.Attribute) and is_private(node.attr) and (root := root_name(node)) in origins:
            yield origins[root], ast.unparse(node)
        if isinstance(node, ast.keyword) and node.arg and is_private(node.arg):
            yield KEYWORDS.get(node.arg, "unknown"), f"{node.arg}="


def imported_names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names that a module imports from libraries, and the library of each."""
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.ImportFrom | ast.Import) else ():
            source = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
            if library := library_of(source):
                yield (alias.asname or alias.name).partition(".")[0], library


def private_imports(node: ast.ImportFrom | ast.Import) -> Iterator[tuple[str, str]]:
    for alias in node.names:
        path = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        library = library_of(path)
        if library and any(map(is_private, path.split("."))):
            yield library, path


def root_name(node: ast.expr) -> str:
    """Return the name at the start of ``name.a(…).b[…]``; empty for anything else."""
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def extensions(module: ModuleType) -> Iterator[tuple[type, ast.ClassDef]]:
    """Yield the classes of a module that extend a class of a library, and their definitions."""
    definitions = {
        node.name: node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)
    }
    for name, definition in definitions.items():
        cls = getattr(module, name)
        if inspect.isclass(cls) and any(library_of(base.__module__) for base in cls.__mro__):
            yield cls, definition


def uses_of_self(definition: ast.ClassDef) -> set[str]:
    """Return the private names that a class uses on ``self``, ``cls`` or ``super()``."""
    return {
        node.attr
        for node in ast.walk(definition)
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        and ast.unparse(node.value) in ("self", "cls", "super()")
    }


def private_definitions(definition: ast.ClassDef) -> set[str]:
    """Return the private names that a class defines in its body or sets on its instances."""
    functions = {node.name for node in ast.walk(definition) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    variables = {node.id for node in ast.walk(definition) if isinstance(node, ast.Name) and is_stored(node)}
    return set(filter(is_private, functions | variables | stored_attributes(definition)))


def upstream_names(cls: type) -> dict[str, str]:
    """Return the private members of a class and its instances that come from libraries, with their library."""
    return {
        name: library
        for base in cls.__mro__
        if (library := library_of(base.__module__))
        for name in {*vars(base), *attributes_of_instances(base)}
        if is_private(name)
    }


def instance_attributes(cls: type) -> set[str]:
    """Return the attributes that the methods of a class and of its bases set on ``self``."""
    return {name for base in cls.__mro__ for name in attributes_of_instances(base)}


def attributes_of_instances(cls: type) -> set[str]:
    """Attributes that the methods of one class set on ``self``, as far as its source is known."""
    definition = class_definitions(cls.__module__).get(cls.__name__)
    return stored_attributes(definition) if definition else set()


@functools.cache
def class_definitions(module_name: str) -> dict[str, ast.ClassDef]:
    """The classes of a module by name. ``inspect.getsource()`` would parse the whole module again for each class."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module_name]))
    except (OSError, TypeError):  # compiled
        return {}
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def stored_attributes(tree: ast.AST) -> set[str]:
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and is_stored(node) and ast.unparse(node.value) == "self"
    }


def is_stored(node: ast.Attribute | ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from uvicorn._types import Scope", "uvicorn"),
        ("import rq._job", "rq"),
        ("from redis import Redis\nRedis()._pool", "redis"),
        ("import redis\nredis.client._x()", "redis"),
        ("client.call(_request_timeout=1)", "kubernetes"),
        ("import json\njson._default_decoder", None),
        ("self._own", None),
    ],
)
def test_private_uses_are_found(text: str, expected: str | None) -> None:
    found = {library for library, _ in uses_in_text(ast.parse(text))}
    assert found == ({expected} if expected else set())


def test_private_uses_by_inheritance_are_found() -> None:
    module = importlib.import_module(ADAPTERS["uvicorn"])
    assert ("uvicorn", "HttpProtocol._unset_keepalive_if_required") in set(private_uses(module))
    assert {"_start_asgi_task"} == {
        name
        for cls, definition in extensions(module)
        for name in private_definitions(definition) & upstream_names(cls).keys()
    }


def test_the_adapters_exist() -> None:
    for module in ADAPTERS.values():
        assert Path(str(importlib.import_module(module).__file__)).is_file()
