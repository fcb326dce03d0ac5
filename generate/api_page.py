"""An OpenAPI document as one page of HTML and CSS: no script, nothing from elsewhere.

Knows as much of OpenAPI 3.0, and of Markdown, as our own document uses. The gateway
serves the page as it is, see `amazin/api/docs.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import yaml

from amazin.api.docs import DOCUMENT

Node = Mapping[str, Any]
METHODS = ("get", "put", "post", "delete", "head")
# PyYAML's own parser takes a second for our document, libyaml's a twentieth of that.
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BLOCK = re.compile(r"<(?:body|header|nav|main|h[1-4]|p|pre|ul|li|dl|dt|dd|table|tr)\b")

STYLE = """
:root { color-scheme: light dark; --text: #1c2128; --page: #fff; --quiet: #57606a;
  --box: #f3f5f7; --line: #d0d7de; --link: #0a58b0 }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ec; --page: #14181d;
  --quiet: #a3adb8; --box: #1f252c; --line: #3a434d; --link: #7db8ff } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text);
  font: 1rem/1.55 system-ui, sans-serif }
header, main, nav { max-width: 60rem; margin: 0 auto; padding: 0 1.25rem }
a { color: var(--link) }
h1 { margin: 2rem 0 .5rem }
h2 { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line) }
h3 { margin: 2.5rem 0 .25rem; overflow-wrap: anywhere }
h4 { margin: 1rem 0 .25rem }
h3 a, dt a { text-decoration: none }
code, pre, .path { font-family: ui-monospace, monospace; font-size: .92em }
code { background: var(--box); padding: .1em .3em; border-radius: .25em }
pre { background: var(--box); padding: .75rem 1rem; border-radius: .4rem;
  overflow-x: auto }
pre code { padding: 0 }
.method { display: inline-block; min-width: 4.2em; font-size: .8em; font-weight: 700 }
table { width: 100%; border-collapse: collapse }
th, td { padding: .4rem .6rem .4rem 0; border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: top; overflow-wrap: anywhere }
td p, li p { margin: 0 }
.quiet { color: var(--quiet) }
nav ul { list-style: none; padding: 0 }
.skip { position: absolute; left: -99rem }
.skip:focus { left: 1rem }
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    node: Node
    parameters: list[Node]

    @property
    def anchor(self) -> str:
        """Its id in the page."""
        return str(self.node["operationId"])


def api_page() -> str:
    """Return the page of our own document, each block of it on a line of its own."""
    page = html_page(parsed(DOCUMENT.read_bytes()))
    return _BLOCK.sub(r"\n\g<0>", page)


def parsed(text: bytes) -> dict[str, Any]:
    """Return an OpenAPI document as what its YAML means."""
    document: dict[str, Any] = yaml.load(text, _LOADER)
    return document


def html_page(document: Node) -> str:
    """Return the page."""
    info = document["info"]
    title = escape(info["title"])
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: API</title><style>{STYLE}</style></head><body>"
        '<a class="skip" href="#main">Skip the contents</a>'
        f'<header><h1>{title}</h1><p class="quiet">API, version '
        f'{escape(info["version"])}. <a href="openapi.yaml">openapi.yaml</a> is the '
        f"same for programs.</p>{prose(info['description'])}</header>"
        f"{contents(document)}"
        f'<main id="main">{"".join(sections(document))}</main></body></html>\n'
    )


def contents(document: Node) -> str:
    """Return links to all operations."""
    items = []
    for tag in document["tags"]:
        links = "".join(
            f'<li><a href="#{operation.anchor}">{heading(operation)}</a> '
            f'<span class="quiet">{inline(operation.node["summary"])}</span></li>'
            for operation in operations(document)
            if tag["name"] in operation.node["tags"]
        )
        items.append(f"<h3>{escape(tag['name'])}</h3><ul>{links}</ul>")
    more = (
        '<h3>More</h3><ul><li><a href="#access">Access</a></li>'
        '<li><a href="#errors">Errors</a></li>'
        '<li><a href="#schemas">JSON values</a></li></ul>'
    )
    return f'<nav aria-label="Contents"><h2>Contents</h2>{"".join(items)}{more}</nav>'


def sections(document: Node) -> Iterator[str]:
    """Yield all that the page has below its contents."""
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2>{prose(tag['description'])}"
        for operation in operations(document):
            if tag["name"] in operation.node["tags"]:
                yield from described(document, operation)
    components = document["components"]
    yield '<h2 id="access">Access</h2><dl>'
    for scheme in components["securitySchemes"].values():
        name = scheme.get("name", "Authorization: Bearer ...")
        yield f"<dt><code>{escape(name)}</code></dt>"
        yield f"<dd>{prose(scheme['description'])}</dd>"
    yield '</dl><h2 id="errors">Errors</h2>'
    shared = dict.fromkeys(filter(None, map(error_name, all_answers(document))))
    rows = [
        (
            f'<span id="answer-{name}">{escape(name)}</span>',
            answer_cell(components["responses"][name]),
        )
        for name in shared
    ]
    yield table(("Answer", "When"), rows)
    yield '<h2 id="schemas">JSON values</h2>'
    for name, schema in components["schemas"].items():
        yield f'<h3 id="schema-{name}">{escape(name)}</h3>{schema_text(schema)}'


def operations(document: Node) -> Iterator[Operation]:
    """Yield all operations, in the document's order."""
    for path, item in document["paths"].items():
        shared = item.get("parameters", [])
        for method in METHODS:
            if node := item.get(method):
                own = node.get("parameters", [])
                parameters = [resolved(document, each) for each in (*own, *shared)]
                yield Operation(method, path, node, parameters)


def described(document: Node, operation: Operation) -> Iterator[str]:
    """Yield what there is to say of one operation."""
    node = operation.node
    anchor = operation.anchor
    yield f'<h3 id="{anchor}"><a href="#{anchor}">{heading(operation)}</a></h3>'
    yield f"<p><strong>{inline(node['summary'])}</strong></p>"
    yield prose(node.get("description", ""))
    for sample in node.get("x-codeSamples", ()):
        yield f"<pre><code>{escape(sample['source'].strip())}</code></pre>"
    if operation.parameters:
        yield "<h4>Parameters</h4>"
        rows = [parameter_cells(each) for each in operation.parameters]
        yield table(("Name", "Where", "Meaning"), rows)
    if "requestBody" in node:
        body = resolved(document, node["requestBody"])
        yield f"<h4>Body</h4>{prose(body['description'])}{content_text(body)}"
    yield "<h4>Answers</h4>"
    yield table(("Status", "Meaning"), answers(document, node["responses"]))


def answers(document: Node, responses: Node) -> Iterator[tuple[str, str]]:
    """Yield rows of statuses; errors that many operations have share the last one."""
    shared = []
    for status, response in responses.items():
        if name := error_name((status, response)):
            shared.append(f'<a href="#answer-{name}">{status}</a>')
        else:
            yield status, answer_cell(resolved(document, response))
    if shared:
        yield "Errors", ", ".join(shared)


def answer_cell(response: Node) -> str:
    """Return what is to be known of a response."""
    names = [name for name in response.get("headers", {}) if name != "X-Request-Id"]
    headers = ", ".join(f"<code>{escape(name)}</code>" for name in names)
    text = prose(response["description"]) + content_text(response)
    return text + (f'<p class="quiet">Headers: {headers}</p>' if headers else "")


def all_answers(document: Node) -> Iterator[tuple[str, Node]]:
    """Yield status and response of every answer of every operation, as written."""
    for operation in operations(document):
        yield from operation.node["responses"].items()


def error_name(answer: tuple[str, Node]) -> str:
    """Return the name of a response that is an error and may be shared; "" if not."""
    status, response = answer
    return component_of(response) if int(status) >= 400 else ""


def component_of(node: Node) -> str:
    """Return the name of the component that a node refers to; "" if it does not."""
    return str(node.get("$ref", "")).rpartition("/")[2]


def content_text(node: Node) -> str:
    """Return what a body is made of, with its example."""
    parts = []
    for media_type, media in node.get("content", {}).items():
        name = component_of(media["schema"])
        link = f' <a href="#schema-{name}">{name}</a>' if name else ""
        parts.append(f'<p class="quiet"><code>{escape(media_type)}</code>{link}</p>')
        if "example" in media and name != "Error":
            parts.append(f"<pre><code>{escape(compact(media['example']))}</code></pre>")
    return "".join(parts)


def parameter_cells(parameter: Node) -> tuple[str, ...]:
    """Return a row of the table of parameters."""
    need = "" if parameter.get("required") else ', <span class="quiet">optional</span>'
    text = prose(parameter.get("description", ""))
    if "example" in parameter:
        example = escape(compact(parameter["example"]))
        text += f'<p class="quiet">For example <code>{example}</code></p>'
    name = f"<code>{escape(parameter['name'])}</code>"
    return name, f"{parameter['in']}{need}", text


def schema_text(schema: Node) -> str:
    """Return what a JSON value is."""
    parts = [prose(schema.get("description", ""))]
    if "enum" in schema:
        codes = ", ".join(f"<code>{escape(each)}</code>" for each in schema["enum"])
        parts.append(f"<p>{codes}</p>")
    if "pattern" in schema:
        parts.append(f"<p><code>{escape(schema['pattern'])}</code></p>")
    if "properties" in schema:
        rows = [
            (f"<code>{escape(name)}</code>", prose(property_text(node)))
            for name, node in schema["properties"].items()
        ]
        parts.append(table(("Name", "Meaning"), rows))
    if "example" in schema:
        parts.append(f"<pre><code>{escape(compact(schema['example']))}</code></pre>")
    return "".join(parts)


def property_text(node: Node) -> str:
    """Return what a member of a JSON object is."""
    kind = component_of(node) or node.get("format") or node["type"]
    return f"`{kind}` {node.get('description', '')}".strip()


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; cells are HTML."""
    names = "".join(f'<th scope="col">{name}</th>' for name in head)
    lines = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>"


def heading(operation: Operation) -> str:
    """Return method and path."""
    method = f'<span class="method">{operation.method.upper()}</span>'
    return f'{method} <span class="path">{escape(operation.path)}</span>'


def resolved(document: Node, node: Node) -> Node:
    """Return what a node is, or refers to."""
    while "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def prose(text: str) -> str:
    """Return paragraphs of Markdown as HTML."""
    paragraphs = filter(None, re.split(r"\n\s*\n", text.strip()))
    return "".join(f"<p>{inline(paragraph)}</p>" for paragraph in paragraphs)


def inline(text: str) -> str:
    """Return a line of Markdown as HTML: code and strong words."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text.strip(), quote=False))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)


def compact(value: Any) -> str:
    """Return an example as it goes over the wire; a text as it is."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
