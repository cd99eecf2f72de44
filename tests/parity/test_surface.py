"""The page of all names is up to date, and says of each name what is true."""

import pytest

import dynjax
from dynjax.core.scope import OUT_OF_SCOPE, out_of_scope

pytest.importorskip("torch")

from tests.parity import surface  # noqa: E402


def test_the_page_is_what_the_script_writes():
    assert surface.PAGE.read_text() == surface.page(), "run python -m tests.parity.surface"


def test_what_is_out_of_scope_is_not_there():
    names = {n for place in ("", "Tensor") for n in surface.public(place)}
    left_out = [n for n in names if out_of_scope(n)]
    assert left_out and {"sparse_coo_tensor", "quantize_per_tensor", "data_ptr"} <= set(left_out)


def test_every_pattern_is_for_some_name():
    names = {n for place in surface.NAMESPACES for n in surface.public(place)}
    found = {out_of_scope(n) for n in names}
    assert {why for _, why in OUT_OF_SCOPE} <= found


def test_a_missing_name_says_why_and_where_to_look():
    with pytest.raises(AttributeError, match="out of scope: sparse.*docs/surface.md"):
        dynjax.sparse_coo_tensor
