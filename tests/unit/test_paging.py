"""Pages of long answers (XEP-0059): requests are read, and nonsense is refused."""

from xml.etree.ElementTree import Element, fromstring

import pytest

from xmpprelay.errors import BadRequest
from xmpprelay.xmpp.paging import RSM, Page, add_set, read_page


def asked(inner: str) -> Element:
    return fromstring(f"<query xmlns='x'><set xmlns='{RSM}'>{inner}</set></query>")


@pytest.mark.parametrize(
    ("inner", "page"),
    [
        ("", Page(50)),
        ("<max>10</max>", Page(10)),
        ("<max> 10\n</max>", Page(10)),
        ("<max>0</max>", Page(0)),
        ("<max>1000000</max>", Page(50)),
        ("<max>9999999999</max>", Page(50)),
        ("<max>10</max><after>alice</after>", Page(10, after="alice")),
        ("<max>10</max><after/>", Page(10)),
        ("<max>10</max><before>bob</before>", Page(10, before="bob")),
        ("<max>10</max><before/>", Page(10, before="")),
        ("<max>10</max><index>3</index>", Page(10, index=3)),
        ("<after/><before/>", Page(50, before="")),
    ],
)
def test_a_page_is_read(inner: str, page: Page) -> None:
    assert read_page(asked(inner), 50) == page


def test_without_a_set_it_is_the_first_page() -> None:
    assert read_page(Element("query"), 20) == Page(20)


@pytest.mark.parametrize(
    "inner",
    [
        "<max/>",
        "<max>ten</max>",
        "<max>-1</max>",
        "<max>1_0</max>",
        "<max>٣</max>",
        "<max>" + "9" * 5000 + "</max>",
        "<index>1.5</index>",
        "<after>a</after><before>b</before>",
        "<before/><index>0</index>",
    ],
)
def test_nonsense_is_refused(inner: str) -> None:
    with pytest.raises(BadRequest):
        read_page(asked(inner), 50)


def test_the_answer_tells_the_page() -> None:
    query = Element("query")
    add_set(query, "alice", "bob", 17, 4)
    told = query[0]
    assert [(child.tag, child.text, child.attrib) for child in told] == [
        (f"{{{RSM}}}first", "alice", {"index": "4"}),
        (f"{{{RSM}}}last", "bob", {}),
        (f"{{{RSM}}}count", "17", {}),
    ]


def test_an_empty_page_tells_only_how_many_there_are() -> None:
    query = Element("query")
    add_set(query, None, None, 17, None)
    assert [(child.tag, child.text) for child in query[0]] == [(f"{{{RSM}}}count", "17")]
