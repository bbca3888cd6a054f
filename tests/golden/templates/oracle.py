"""Renders chat templates with jinja2, set up as transformers sets it up (utils/chat_template_utils.py, 4.5x)."""
import datetime
import json

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

FROZEN_TIME = datetime.datetime(2024, 7, 6, 9, 5, 3)


class GenerationBlock(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %} passes its text through."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_pass_through")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _pass_through(self, caller):
        return caller()


class Refused(jinja2.exceptions.TemplateError):
    pass


def raise_exception(message):
    raise Refused(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: FROZEN_TIME.strftime(form)
    return env


ENVIRONMENT = environment()


def render(source, context):
    """{"text": ...}, {"refused": the template's words} or {"failed": Python's words}."""
    try:
        return {"text": ENVIRONMENT.from_string(source).render(**context)}
    except Refused as error:
        return {"refused": str(error.message)}
    except Exception as error:  # every failure of a template is a case of its own
        return {"failed": f"{type(error).__name__}: {error}"}
