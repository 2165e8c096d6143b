"""The description of the service: whole, true, and kept to under whatever is asked."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from pictures import png, scene
from schemathesis.specs.openapi.checks import positive_data_acceptance
from served import Inside, inside
from served_library import EACH, KINDS, encoded

from imgindex import Library, errors
from imgindex.scan import content_id
from imgindex.web import ServiceSettings
from imgindex.web.app import described
from imgindex.web.problems import MEDIA_TYPE, problem_of
from imgindex.web.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A picture may be none, a date a word: a schema cannot say all that may be wrong.
UNCHECKED: list[Any] = [positive_data_acceptance]
EXAMPLES = 12  # of requests to each operation
_METHODS = {"get", "put", "post", "delete", "patch"}


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    with Library("memory:") as library:
        return described(Service(library, ServiceSettings())).openapi()


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in description["paths"].items():
        for method, operation in item.items():
            assert method in _METHODS
            yield f"{method.upper()} {path}", operation


def resolved(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with all that it refers to at hand."""
    return {**schema, "components": description["components"]}


def test_every_operation_says_what_it_is_for(description: dict[str, Any]) -> None:
    names = [name for name, _ in operations(description)]
    assert len(names) > 40
    ids = [operation["operationId"] for _, operation in operations(description)]
    assert len(set(ids)) == len(ids)
    for name, operation in operations(description):
        assert 3 < len(operation["summary"]) < 70, name
        assert operation["summary"][0].isupper()
        assert operation["tags"], name
        for parameter in operation.get("parameters", []):
            assert "schema" in parameter, name
            if parameter["in"] == "path":
                assert parameter["required"], name
        assert operation["description"].strip().endswith((".", ":")), name
    assert description["openapi"].startswith("3.1")


def test_every_operation_tells_how_it_fails(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        responses = operation["responses"]
        kept = responses["default"]["content"][MEDIA_TYPE]["schema"]
        assert kept == {"$ref": "#/components/schemas/ProblemBody"}, name
        for status, response in responses.items():
            if not status.startswith(("4", "5")):
                continue
            content = response["content"]
            assert content.keys() == {MEDIA_TYPE}, (name, status)
            assert content[MEDIA_TYPE]["schema"] == kept
            example = content[MEDIA_TYPE]["example"]
            assert jsonschema_rs.is_valid(resolved(description, kept), example)
            assert example["status"] == int(status)


def test_every_json_answer_has_an_example_that_is_one(description: dict[str, Any]) -> None:
    seen, wrong = 0, list[str]()
    for name, operation in operations(description):
        for response in operation["responses"].values():
            content = response.get("content", {}).get("application/json")
            if content is None:
                continue
            example = content["example"]
            validator = jsonschema_rs.Draft202012Validator(
                resolved(description, _closed(description, content["schema"])),
            )
            wrong += [f"{name}: {error.message}" for error in validator.iter_errors(example)]
            seen += 1
    assert not wrong
    assert seen > 25


def _closed(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The same, but nothing more may be said than it names."""
    if "$ref" in schema:
        target = description["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return _closed(description, target)
    if "properties" in schema:
        return {**schema, "additionalProperties": False}
    return schema


def test_answers_describe_their_fields(description: dict[str, Any]) -> None:
    for name, schema in description["components"]["schemas"].items():
        if schema.get("type") == "object":
            assert schema.get("description") or name.startswith(("Body_", "HTTP", "Validation"))


def test_every_error_has_its_status() -> None:
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ImgindexError)
    ]
    assert len(classes) >= 19
    kinds: dict[str, type] = {}
    for cls in classes:
        problem = problem_of(cls("what went wrong"))
        assert 400 <= problem.body.status < 600
        assert problem.body.detail == "what went wrong"
        assert re.fullmatch(r"urn:imgindex:[a-z-]+", problem.body.type)
        assert kinds.setdefault(problem.body.type, cls) is cls, "every class has a kind of its own"
        assert problem.response().media_type == MEDIA_TYPE
        assert ("retry-after" in problem.response().headers) == (
            problem.body.status == 503 or cls is errors.LibraryBusyError
        )
        assert (problem.body.status == 500) == (cls is errors.ImgindexError)

    class Later(errors.StoreError):
        """One that nobody has thought of here."""

    assert problem_of(Later("x")).body.status == 503


# Whatever is asked.


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[Inside]:
    work = tmp_path_factory.mktemp("openapi")
    (work / "pictures").mkdir()
    for at in range(KINDS * EACH):
        (work / "pictures" / f"{at}.jpg").write_bytes(encoded(at % KINDS, at // KINDS))
    with Library(work / "library", model=model_file, device="cpu") as library:
        library.add([work / "pictures"])
        library.cluster(min_cluster_size=4)
        with inside(
            library,
            uploads=work / "uploads",
            thumbnails=work / "thumbnails",
            folders=(str(work / "pictures"),),
            originals=True,
        ) as opened:
            yield opened


def test_whatever_is_asked_the_answer_is_as_described(service: Inside) -> None:
    address = str(service.client.base_url).rstrip("/")
    loaded = schemathesis.openapi.from_url(f"{address}/v1/openapi.json")
    loaded.config.update(base_url=address)
    wrong: list[str] = []
    for result in loaded.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # it raises what is wrong
        if operation.path.endswith("/events"):
            continue  # it never ends; asked elsewhere

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            case.call_and_validate(excluded_checks=UNCHECKED)

        try:
            ask()
        except BaseException as error:  # noqa: BLE001 - a group, or a failure of its own kind
            wrong.append(f"{operation.label}: {error!r} {getattr(error, 'exceptions', '')}")
    assert not wrong, "\n\n".join(wrong)


@pytest.fixture(scope="module")
def known(service: Inside) -> list[str]:
    answer = service.client.get("/v1/pictures", params={"limit": 5}).json()
    return [one["id"] for one in answer["pictures"]]


def test_true_answers_are_as_described(
    service: Inside,
    known: list[str],
    description: dict[str, Any],
) -> None:
    """What is there, too: what is made up at random is mostly not."""
    client = service.client
    while any(not job["ended"] for job in client.get("/v1/jobs").json()):
        time.sleep(0.05)
    group = client.get("/v1/groups").json()["groups"][0]["id"]
    data = png(scene(99))
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/v1/status", {}),
        ("GET", "/v1/pictures", {}),
        ("GET", f"/v1/pictures/{known[0]}", {}),
        ("GET", f"/v1/pictures/{known[0]}/similar", {}),
        ("POST", "/v1/search", {"json": {"terms": [{"picture": known[0]}]}}),
        ("POST", "/v1/search/upload", {"files": {"file": ("x.png", data)}}),
        ("POST", "/v1/uploads", {"files": {"file": ("x.png", data)}}),
        ("POST", "/v1/pictures", {"files": {"files": ("x.png", data)}}),
        ("GET", "/v1/groups", {"params": {"parts": True}}),
        ("GET", f"/v1/groups/{group}", {}),
        ("GET", "/v1/groups/-1", {}),
        ("PUT", f"/v1/groups/{group}/name", {"json": {"name": "Sea"}}),
        ("POST", "/v1/groups", {"json": {"pictures": known[:2]}}),
        ("POST", "/v1/decisions", {"json": {"kind": "apart", "pictures": known[2:4]}}),
        ("GET", "/v1/decisions", {}),
        ("GET", "/v1/groups/history", {}),
        ("GET", "/v1/duplicates", {}),
        ("POST", "/v1/jobs", {"json": {"kind": "duplicates"}}),
        ("GET", "/v1/jobs", {}),
        ("GET", "/v1/map", {}),
        ("GET", "/v1/layers", {}),
        ("GET", f"/v1/pictures/{known[0]}/features", {}),
        ("GET", "/v1/explain", {"params": {"a": known[0], "b": known[1]}}),
    ]
    for method, address, body in asked:
        answer = client.request(method, address, **body)
        assert answer.status_code < 300, (address, answer.text)
        path = _template(description, method.lower(), address)
        response = description["paths"][path][method.lower()]["responses"]
        declared = response[str(answer.status_code)]["content"]["application/json"]["schema"]
        validator = jsonschema_rs.Draft202012Validator(
            resolved(description, _closed(description, declared)),
        )
        assert not [error.message for error in validator.iter_errors(answer.json())], address
    assert content_id(data)


def _template(description: dict[str, Any], method: str, address: str) -> str:
    """Which path of the description an address is one of; those without gaps come first."""
    paths = sorted(description["paths"], key=lambda path: path.count("{"))
    for path in paths:
        pattern = re.sub(r"\{[^}]*\}", "[^/]+", path)
        if re.fullmatch(pattern, address) and method in description["paths"][path]:
            return str(path)
    raise AssertionError(address)
