"""Every text and attribute is escaped; what no page can hold is replaced."""

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from equipoise.report import svg


@given(st.text(st.characters(), max_size=40))
def test_any_text_comes_back_from_an_xml_parser(text):
    made = svg.tag("g", text, class_=text)
    node = ElementTree.fromstring(made.encode())
    assert (node.text or "").replace("\n", "\r") == svg.clean(text).replace("\r\n", "\r").replace(
        "\n", "\r"
    )


def test_hostile_text_stays_text():
    made = svg.tag("text", "</text><script>alert(1)</script>", data_name='" onload="alert(1)')
    node = ElementTree.fromstring(made)
    assert list(node) == []
    assert set(node.attrib) == {"data-name"}


def test_lone_surrogates_can_be_encoded():
    assert svg.tag("text", "\ud800").encode() == "<text>\ufffd</text>".encode()


def test_children_are_flattened_and_empty_attributes_left_out():
    parts = (svg.tag("i", x=n) for n in range(2))
    assert svg.tag("g", [parts, ""], x=None, y=0) == Markup('<g y="0"><i x="0"/><i x="1"/></g>')


def test_twenty_six_series_look_different():
    assert len({svg.style(i) for i in range(26)}) == 26
    assert svg.style(0) == "c0 d0"
