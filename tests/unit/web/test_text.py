"""What is written is what prometheus_client's parsers read, whatever the labels hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from pgmux.web.metrics.text import Family, Kind, labels, number, whole, write

HOSTILE = ['"', "\\", "\n", "\\n", 'a"} 1\nfake 2', "\x00\x1b[31m", "é\u2028", "}{,=", "#", " "]


def read(family: Family, *, openmetrics: bool) -> Metric:
    parse = parse_openmetrics if openmetrics else parse_text
    (found,) = parse(write([family], openmetrics=openmetrics).decode())
    return found


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("kind", [Kind.COUNTER, Kind.GAUGE, Kind.INFO, Kind.UNKNOWN])
@given(value=st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]))))
def test_a_label_comes_back_as_it_was(openmetrics: bool, kind: Kind, value: str) -> None:
    name = {Kind.COUNTER: "x_total", Kind.INFO: "x_info"}.get(kind, "x")
    family = Family(name, kind, "What it is", [(labels({"a": value, "b": "2"}), "1")])
    (sample,) = read(family, openmetrics=openmetrics).samples
    assert (sample.name, sample.labels) == (name, {"a": value, "b": "2"})


@pytest.mark.parametrize(
    ("kind", "name", "text_type", "openmetrics_type"),
    [
        (Kind.COUNTER, "x_total", "counter", "counter"),
        (Kind.GAUGE, "x", "gauge", "gauge"),
        (Kind.INFO, "x_info", "gauge", "info"),
        (Kind.UNKNOWN, "x_count", "unknown", "unknown"),
    ],
)
def test_a_family_has_its_type_in_both_formats(
    kind: Kind, name: str, text_type: str, openmetrics_type: str
) -> None:
    family = Family(name, kind, "What it is", [('{a="b"}', "1")])
    assert read(family, openmetrics=False).type == text_type
    assert read(family, openmetrics=True).type == openmetrics_type


def test_a_family_without_samples_is_left_out() -> None:
    assert write([Family("x", Kind.GAUGE, "What it is", [])], openmetrics=False) == b""


@pytest.mark.parametrize(
    ("text", "unit", "result"),
    [
        ("5", 1, "5"),
        ("5", 1_000_000, "5e-06"),
        ("NaN", 1, None),
        ("-1e999", 1, None),
        ("9" * 5000, 1, None),
        ("0.5", 1, "0.5"),
        ("-1", 1, "-1.0"),
        (None, 1, None),
        ("", 1, None),
        ("five", 1, None),
        ("\u0665", 1, "5.0"),  # digits that Prometheus wouldn't take
    ],
)
def test_numbers_are_what_prometheus_reads(text: str | None, unit: int, result: str | None) -> None:
    assert number(text, unit) == result


@pytest.mark.parametrize("text", [None, "", "NaN", "inf", "x", "9" * 5000])
def test_what_is_no_count_counts_as_none(text: str | None) -> None:
    assert whole(text) == 0
    assert whole("17") == 17
