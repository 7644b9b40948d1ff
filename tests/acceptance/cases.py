"""What is asked of real repositories, and what must then be true. Data only; `test_renames.py` says how each is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Fact:
    """In the result, file `path` has text that the regular expression finds, or has none."""

    path: str
    pattern: str
    holds: bool = True


@dataclass(frozen=True)
class Case:
    """One objective on one repository.

    `outcome`: `lands`, or `lands or stops`: then a stop must name every path of `named`. `must_change` are paths that a landed
    result changes; nothing but these and `may_change` is changed. `left` says how often Python code may go on saying the old
    name (see `names.uses`), by path; None where other things of that name stay in numbers: then `facts` tell them apart. `works`
    is Python that must run on the result and not on the base; `mentioned` are paths that the plan must list as mentions.
    """

    id: str
    repository: str
    objective: str
    old: str
    new: str
    works: str
    must_change: frozenset[str]
    may_change: frozenset[str] = frozenset()
    outcome: Literal["lands", "lands or stops"] = "lands"
    named: tuple[str, ...] = ()
    left: Mapping[str, int] | None = field(default_factory=dict[str, int])
    facts: tuple[Fact, ...] = ()
    mentioned: tuple[str, ...] = ()


def _paths(text: str) -> frozenset[str]:
    return frozenset(text.split())


CASES = (
    Case(
        "A1-flask-function",
        "flask",
        "rename flask.helpers:get_root_path to find_root_path",
        "get_root_path",
        "find_root_path",
        works="from flask.helpers import find_root_path; from flask.sansio.scaffold import find_root_path",
        must_change=_paths("src/flask/helpers.py src/flask/sansio/scaffold.py"),
    ),
    Case(
        "A2-click-function",
        "click",
        "rename click.utils:make_str to to_display_str",
        "make_str",
        "to_display_str",
        works="from click.utils import to_display_str; from click.core import to_display_str",
        must_change=_paths("src/click/core.py src/click/utils.py"),
    ),
    Case(
        "A3-jinja2-class-in-generated-code",
        "jinja2",
        "rename jinja2.runtime:LoopContext to LoopState",
        "LoopContext",
        "LoopState",
        works="import jinja2.runtime as r; r.LoopState; assert 'LoopState' in r.exported",
        must_change=_paths("src/jinja2/runtime.py src/jinja2/compiler.py tests/test_runtime.py"),
        outcome="lands or stops",
        # The f-string that writes the name into generated code, and the list of names that such code imports.
        named=("src/jinja2/compiler.py", "src/jinja2/runtime.py"),
    ),
    Case(
        "A4-marshmallow-class",
        "marshmallow",
        "rename marshmallow.fields:Nested to NestedField",
        "Nested",
        "NestedField",
        works="from marshmallow import fields; fields.NestedField; assert 'NestedField' in fields.__all__",
        must_change=_paths(
            "src/marshmallow/fields.py tests/base.py tests/test_context.py tests/test_decorators.py "
            "tests/test_deserialization.py tests/test_fields.py tests/test_options.py tests/test_registry.py "
            "tests/test_schema.py tests/test_serialization.py"
        ),
        left={"tests/test_decorators.py": 2},  # a class of the tests' own
        facts=(Fact("src/marshmallow/fields.py", r'"Nested"', holds=False),),
        mentioned=("src/marshmallow/schema.py",),
    ),
    Case(
        "A5-tomlkit-method",
        "tomlkit",
        "rename tomlkit.container:Container.unwrap to to_plain",
        "unwrap",
        "to_plain",
        works="import tomlkit; assert tomlkit.parse('a = {b = 1}').to_plain() == {'a': {'b': 1}}",
        must_change=_paths("tomlkit/container.py tests/test_toml_document.py"),
        may_change=_paths("tomlkit/items.py tests/test_items.py tests/util.py"),
        left=None,
        facts=(
            Fact("tomlkit/container.py", r"(?m)^    def to_plain\(self\) -> dict"),
            Fact("tests/test_toml_document.py", r"\bdoc\.unwrap\(\)", holds=False),
        ),
    ),
    Case(
        "A6-networkx-function-star-imported",
        "networkx",
        "rename networkx.relabel:relabel_nodes to rename_nodes",
        "relabel_nodes",
        "rename_nodes",
        works="import networkx as nx; nx.rename_nodes; assert 'rename_nodes' in nx.relabel.__all__",
        must_change=_paths("""
            networkx/algorithms/approximation/tests/test_dominating_set.py networkx/algorithms/bipartite/matrix.py
            networkx/algorithms/centrality/current_flow_betweenness.py
            networkx/algorithms/centrality/current_flow_betweenness_subset.py
            networkx/algorithms/centrality/current_flow_closeness.py networkx/algorithms/coloring/equitable_coloring.py
            networkx/algorithms/community/tests/test_bipartitions.py
            networkx/algorithms/community/tests/test_modularity_max.py
            networkx/algorithms/isomorphism/tests/test_ismags.py networkx/algorithms/isomorphism/tests/test_isomorphvf2.py
            networkx/algorithms/isomorphism/tests/test_tree_isomorphism.py
            networkx/algorithms/isomorphism/tests/test_vf2pp.py
            networkx/algorithms/isomorphism/tests/test_vf2pp_helpers.py networkx/algorithms/minors/contraction.py
            networkx/algorithms/minors/tests/test_contraction.py networkx/algorithms/operators/all.py
            networkx/algorithms/operators/binary.py networkx/algorithms/tests/test_chains.py
            networkx/algorithms/tests/test_clique.py networkx/algorithms/tests/test_core.py
            networkx/algorithms/tests/test_cycles.py networkx/algorithms/tests/test_graph_hashing.py
            networkx/algorithms/tests/test_similarity.py networkx/algorithms/tests/test_summarization.py
            networkx/algorithms/tree/coding.py networkx/generators/cographs.py networkx/generators/lattice.py
            networkx/linalg/tests/test_algebraic_connectivity.py networkx/readwrite/gexf.py networkx/readwrite/gml.py
            networkx/readwrite/tests/test_gml.py networkx/readwrite/tests/test_text.py networkx/relabel.py
            networkx/tests/test_convert_numpy.py networkx/tests/test_relabel.py
        """),
        mentioned=("networkx/algorithms/clique.py", "doc/reference/relabel.rst"),
    ),
    Case(
        "A7-werkzeug-function",
        "werkzeug",
        "rename werkzeug.http:parse_options_header to read_options_header",
        "parse_options_header",
        "read_options_header",
        works="from werkzeug.http import read_options_header; from werkzeug.formparser import read_options_header",
        must_change=_paths(
            "src/werkzeug/datastructures/file_storage.py src/werkzeug/formparser.py src/werkzeug/http.py "
            "src/werkzeug/sansio/multipart.py src/werkzeug/sansio/request.py src/werkzeug/sansio/response.py "
            "src/werkzeug/test.py tests/test_http.py"
        ),
        mentioned=("src/werkzeug/http.py", "docs/http.rst"),
    ),
    Case(
        "B1-tenacity-class-in-annotations",
        "tenacity",
        "rename tenacity:RetryCallState to RetryState",
        "RetryCallState",
        "RetryState",
        works="from tenacity import RetryState; import tenacity.asyncio",
        must_change=_paths(
            "tenacity/__init__.py tenacity/after.py tenacity/asyncio/__init__.py tenacity/asyncio/retry.py "
            "tenacity/before.py tenacity/before_sleep.py tenacity/retry.py tenacity/stop.py tenacity/tornadoweb.py "
            "tenacity/wait.py tests/test_asyncio.py tests/test_issue_478.py tests/test_tenacity.py"
        ),
        facts=(Fact("tenacity/__init__.py", r'\["RetryCallState"\]', holds=False),),
        mentioned=("doc/source/index.rst",),
    ),
    Case(
        "B2-httpx-class-reexported",
        "httpx",
        # A test demands that the exported names are in order: another letter in front, and the run rightly stops.
        "rename httpx._status_codes:codes to codes_by_number",
        "codes",
        "codes_by_number",
        works="import httpx; assert httpx.codes_by_number.OK == 200 and 'codes_by_number' in httpx.__all__",
        must_change=_paths(
            "httpx/__init__.py httpx/_client.py httpx/_main.py httpx/_models.py httpx/_status_codes.py "
            "tests/client/test_redirects.py tests/test_status_codes.py"
        ),
    ),
    Case(
        "B3-click-keyword-parameter",
        "click",
        "rename click.utils:echo(nl) to newline",
        "nl",
        "newline",
        works="import click; click.echo('x', newline=False)",
        must_change=_paths(
            "src/click/_termui_impl.py src/click/shell_completion.py src/click/termui.py src/click/utils.py "
            "tests/test_arguments.py tests/test_basic.py tests/test_chain.py tests/test_defaults.py "
            "tests/test_options.py tests/test_testing.py tests/test_utils/test_echo.py"
        ),
        # The parameter of that name of another function, `secho`, and those who give it.
        left={"src/click/termui.py": 2, "tests/test_termui.py": 2, "tests/test_options.py": 1},
        mentioned=("src/click/utils.py",),
    ),
    Case(
        "B4-click-class-attribute",
        "click",
        "rename click.core:Parameter.param_type_name to kind_name",
        "param_type_name",
        "kind_name",
        works="import click; assert click.Option(['--x']).kind_name == 'option' and click.Argument(['x']).kind_name == 'argument'",
        must_change=_paths("src/click/core.py src/click/exceptions.py src/click/types.py"),
        may_change=_paths("tests/test_info_dict.py"),
        # A key of a dictionary has the same name: both sides of it may stay, or both go along.
        left=None,
        facts=(
            Fact("src/click/core.py", r"\bself\.param_type_name\b", holds=False),
            Fact("src/click/types.py", r"\bparam\.param_type_name\b", holds=False),
        ),
    ),
    Case(
        "B5-click-method-with-overrides",
        "click",
        "rename click.core:Command.invoke to run_callback",
        "invoke",
        "run_callback",
        works="import click; click.Command.run_callback; click.Group.run_callback",
        must_change=_paths("src/click/core.py tests/test_basic.py tests/test_commands.py"),
        left=None,
        facts=(
            # Methods of the same name of classes that have nothing to do with it.
            Fact("src/click/testing.py", r"(?m)^    def invoke\("),
            Fact("src/click/core.py", r"(?m)^    def invoke\(self, callback"),
            Fact("src/click/core.py", r"return ctx\.invoke\(self\.callback"),
            Fact("src/click/core.py", r"(super\(\)|\.command)\.invoke\(", holds=False),
            Fact("src/click/core.py", r"(?m)^    def invoke\(self, ctx: Context\)", holds=False),
        ),
    ),
    Case(
        "B6-marshmallow-class-attribute-by-getattr",
        "marshmallow",
        "rename marshmallow.fields:Field.default_error_messages to error_templates",
        "default_error_messages",
        "error_templates",
        works="from marshmallow import fields; assert fields.Integer.error_templates; fields.Field.error_templates",
        must_change=_paths("src/marshmallow/fields.py tests/test_fields.py"),
        mentioned=("docs/custom_fields.rst",),
    ),
    Case(
        "B7-marshmallow-class-through-a-module",
        "marshmallow",
        "rename marshmallow.validate:Length to LengthRange",
        "Length",
        "LengthRange",
        works="from marshmallow import validate; validate.LengthRange(min=1)('x')",
        must_change=_paths(
            "src/marshmallow/fields.py src/marshmallow/validate.py tests/test_deserialization.py tests/test_schema.py "
            "tests/test_validate.py"
        ),
        facts=(Fact("src/marshmallow/validate.py", r'"Length must be \{equal\}\."'),),
    ),
    Case(
        "B8-flask-instance-attribute",
        "flask",
        "rename flask.sansio.scaffold:Scaffold.view_functions to views_by_endpoint",
        "view_functions",
        "views_by_endpoint",
        works="import flask; assert 'static' in flask.Flask('x').views_by_endpoint",
        must_change=_paths(
            "src/flask/app.py src/flask/sansio/app.py src/flask/sansio/blueprints.py src/flask/sansio/scaffold.py "
            "tests/test_basic.py"
        ),
        mentioned=("docs/api.rst",),
    ),
    Case(
        "C1-django-function-in-many-files",
        "django",
        "rename django.utils.timezone:make_aware to to_aware",
        "make_aware",
        "to_aware",
        works="from django.utils.timezone import to_aware; from django.utils import timezone; "
        "assert 'to_aware' in timezone.__all__",
        must_change=_paths("""
            django/contrib/admin/views/main.py django/contrib/sitemaps/views.py django/contrib/syndication/views.py
            django/db/backends/base/operations.py django/db/backends/mysql/operations.py
            django/db/backends/oracle/operations.py django/db/backends/sqlite3/operations.py
            django/db/models/fields/__init__.py django/db/models/functions/datetime.py django/forms/utils.py
            django/http/response.py django/templatetags/tz.py django/utils/dateformat.py django/utils/timezone.py
            django/views/decorators/http.py django/views/generic/dates.py
            tests/admin_changelist/test_date_hierarchy.py tests/backends/base/test_operations.py
            tests/custom_lookups/tests.py tests/db_functions/datetime/test_extract_trunc.py tests/file_storage/tests.py
            tests/postgres_tests/test_ranges.py tests/syndication_tests/tests.py
            tests/template_tests/filter_tests/timezone_utils.py tests/utils_tests/test_dateformat.py
            tests/utils_tests/test_timesince.py tests/utils_tests/test_timezone.py
        """),
        mentioned=("docs/ref/utils.txt",),
    ),
    Case(
        "C2-jinja2-module",
        "jinja2",
        "rename module jinja2.nodes to jinja2.syntax_nodes",
        "nodes",
        "syntax_nodes",
        works="import jinja2.syntax_nodes, jinja2.ext; from jinja2 import syntax_nodes",
        must_change=_paths("""
            src/jinja2/nodes.py src/jinja2/syntax_nodes.py src/jinja2/compiler.py src/jinja2/environment.py
            src/jinja2/ext.py src/jinja2/filters.py src/jinja2/idtracking.py src/jinja2/meta.py
            src/jinja2/nativetypes.py src/jinja2/optimizer.py src/jinja2/parser.py src/jinja2/runtime.py
            src/jinja2/visitor.py tests/test_ext.py tests/test_idtracking.py tests/test_lexnparse.py
            tests/test_security.py docs/examples/cache_extension.py
        """),
        left=None,
        facts=(
            # Attributes of that name are no mentions of the module.
            Fact("src/jinja2/syntax_nodes.py", r"self\.nodes\b"),
            Fact("src/jinja2/parser.py", r"body_node\.nodes\b"),
            Fact("src/jinja2/compiler.py", r"(?m)^from \. import nodes$", holds=False),
        ),
        mentioned=("docs/extensions.rst",),
    ),
)


@dataclass(frozen=True)
class SignatureCase:
    """`new_calls` is Python that must run on the result without a warning, `old_calls` with a DeprecationWarning where one is due."""

    id: str
    repository: str
    objective: str
    new_calls: str
    old_calls: str
    must_change: frozenset[str]


SIGNATURES = (
    SignatureCase(
        "S1-click-added-parameter",
        "click",
        "change signature of click.utils:make_str to (value, *, errors: str = 'replace')",
        new_calls="from click.utils import make_str; assert make_str(b'x', errors='strict') == 'x'",
        old_calls="from click.utils import make_str; assert make_str(value=1) == make_str(1) == '1'",
        must_change=_paths("src/click/utils.py"),
    ),
    SignatureCase(
        "S2-marshmallow-reordered-function",
        "marshmallow",
        "change signature of marshmallow.utils:get_value to (key, obj, default)",
        new_calls="from marshmallow.utils import get_value; assert get_value(key='x', obj={'x': 1}) == 1",
        old_calls="from marshmallow.utils import get_value; assert get_value({'x': 1}, 'x') == 1 and get_value({}, 'y', 2) == 2",
        must_change=_paths("src/marshmallow/utils.py src/marshmallow/schema.py tests/test_utils.py"),
    ),
    SignatureCase(
        "S3-tomlkit-keyword-only-method",
        "tomlkit",
        "change signature of tomlkit.container:Container.append to (key, item, *, validate)",
        new_calls="import tomlkit; d = tomlkit.document(); d.append('a', 1); d.append('b', 2, validate=False); assert d['b'] == 2",
        old_calls="import tomlkit; d = tomlkit.document(); d.append('b', 2, False); assert d['b'] == 2",
        must_change=_paths("tomlkit/container.py"),
    ),
    SignatureCase(
        "S4-click-renamed-parameter-of-a-family",
        "click",
        "change signature of click.core:Command.invoke to (ctx as context)",
        new_calls="import click; c = click.Command('c', callback=lambda: 7); assert c.invoke(context=click.Context(c)) == 7",
        old_calls="import click; c = click.Command('c', callback=lambda: 7); assert c.invoke(ctx=click.Context(c)) == 7",
        must_change=_paths("src/click/core.py tests/test_commands.py"),
    ),
)
