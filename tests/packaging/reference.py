"""reference.py — the API reference, docs/api.md, from the CRDs: every kind and every field, its type, default, limits, and the rules on it."""
import json
import re

import yaml

HEAD = """\
# API reference ({group}/{version})

Generated from [crds/](../crds/kustomization.yaml) by `make generated`. Do not edit. `kubectl explain quantizedmodel.spec --recursive` tells the same.

Kinds: {kinds}.

Durations are written `90s`, `5m` or `1h30m`; shares `0.5%` or `0.005`. Numbers that are judged are strings, so that no digit of them is lost on
the way. Fields marked **required** must be given wherever the object they stand in is.
"""

KIND = """\
## {kind}

{description}

{scope} `kubectl get {plural}`. The definition is [{crd}](../crds/{crd}).
"""

LIMITS = [("minimum", "≥ {}"), ("maximum", "≤ {}"), ("minLength", "at least {} characters"), ("maxLength", "at most {} characters"),
          ("minItems", "at least {} entries"), ("maxItems", "at most {} entries")]


def kind_of(schema):
    """What may be written."""
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"] if value is not None)
    if schema.get("type") == "array":
        return f"list of {kind_of(schema['items'])}"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "object, as Kubernetes defines it"
    return {"date-time": "time"}.get(schema.get("format"), schema["type"])


def limits_of(schema):
    """What the API server holds it to, in words."""
    for key, text in LIMITS:
        # That something is not empty goes without saying.
        if key in schema and (key, schema[key]) not in [("minLength", 1), ("minItems", 0)]:
            yield text.format(int(schema[key]))


def refusal(rule):
    """What the API server says where the rule is broken; … where it would name a value."""
    if "message" in rule:
        return rule["message"]
    literals = re.findall(r"'([^']*)'", rule["messageExpression"])
    return "…".join(literals)


def entry(name, schema, required):
    """One field: what it is, then what is asked of it."""
    facts = [kind_of(schema)]
    if required:
        facts.append("**required**")
    if isinstance(schema.get("default"), dict):
        facts.append("defaults as listed below")
    elif "default" in schema:
        default = json.dumps(schema["default"], ensure_ascii=False).strip('"')
        facts.append(f"default `{default}`")
    facts.extend(limits_of(schema))
    lines = [f"- **`{name}`** ({', '.join(facts)})", ""]
    lines += [f"  {line}" if line else "" for line in schema.get("description", "").split("\n")]
    return lines + [""]


def section(path, schema):
    """A heading, the rules on the object, its fields; then the objects below it."""
    inner = schema["items"] if schema.get("type") == "array" else schema
    if "properties" not in inner:
        return []
    lines = [f"### {path}", ""]
    for rule in inner.get("x-kubernetes-validations", []) + (
            schema.get("x-kubernetes-validations", []) if inner is not schema else []):
        lines.append(f"> {refusal(rule)}")
        lines.append(">")
    if lines[-1] == ">":
        lines[-1] = ""
    required = inner.get("required", [])
    for name, field in inner["properties"].items():
        lines += entry(name, field, name in required)
    for name, field in inner["properties"].items():
        lines += section(f"{path}.{name}" + ("[]" if field.get("type") == "array" else ""), field)
    return lines


def of_kind(crd, spec):
    """What the page says of one kind, whose definition is the file `crd`."""
    names, schema = spec["names"], spec["versions"][0]["schema"]["openAPIV3Schema"]
    scope = {"Namespaced": "Its objects belong to a namespace:", "Cluster": "Its objects belong to the whole cluster:"}[spec["scope"]]
    head = KIND.format(kind=names["kind"], description=schema["description"], scope=scope, plural=names["plural"], crd=crd)
    parts = [part for part in ("spec", "status") if part in schema["properties"]]
    lines = [line for part in parts for line in section(f"{names['singular']}.{part}", schema["properties"][part])]
    return head + "\n" + "\n".join(lines).rstrip() + "\n"


def reference(definitions):
    """The page for the CRDs of these texts, by the names of their files."""
    specs = {crd: yaml.safe_load(text)["spec"] for crd, text in definitions.items()}
    kinds = [spec["names"]["kind"] for spec in specs.values()]
    first = next(iter(specs.values()))
    links = ", ".join(f"[{kind}](#{kind.lower()})" for kind in kinds)
    head = HEAD.format(group=first["group"], version=first["versions"][0]["name"], kinds=links)
    return "\n".join([head, *(of_kind(crd, spec) for crd, spec in specs.items())])
