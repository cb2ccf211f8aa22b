"""The page of a training set's photos."""

from __future__ import annotations

import base64

from likeness.cli.photo_report import photo_page
from likeness.training import DatasetFinding, DatasetImage


def photo(number: int, *, used: bool = True, finding: DatasetFinding | None = None, **fields: object) -> DatasetImage:
    values: dict[str, object] = {
        "held_out": False,
        "caption": "",
        "crops": (),
        "thumbnail": b"",
        "name": f"{number}.jpg",
    }
    findings = (finding,) if finding else ()
    return DatasetImage(image_index=number, used=used, findings=findings, **{**values, **fields})  # type: ignore[arg-type]


def test_a_person_sees_each_photo_with_what_became_of_it() -> None:
    blurred = DatasetFinding("blurred", True, "sharpness 3, should be 30")
    small = DatasetFinding("low_resolution", False, "700 px")
    page = photo_page(
        "anna",
        [
            photo(0, thumbnail=b"\xff\xd8one", caption="in a café", crops=("head 512×640", "photo 768×1024")),
            photo(1, used=False, finding=blurred),
            photo(2, finding=small, held_out=True),
        ],
        ["few photos"],
    )
    assert "2 of 3 photos are used." in page
    assert "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8one").decode() in page
    assert page.count("<img") == 1
    for text in (
        "<b>1. 0.jpg</b>: used<br>“in a café”<br>head 512×640, photo 768×1024",
        "<b>2. 1.jpg</b>: left out<ul><li><b>blurred</b>: sharpness 3, should be 30</li></ul>",
        "<b>3. 2.jpg</b>: held out to score against<ul><li><b>low_resolution</b> (kept): 700 px</li></ul>",
        "<li>few photos</li>",
    ):
        assert text in page


def test_what_clients_wrote_is_text_and_no_markup() -> None:
    page = photo_page("<b>", [photo(0, name="<script>a", caption="<i>b{}", crops=("{x}",))], ["<u>"])
    assert not any(markup in page for markup in ("<script", "<i>b", "<u>", "<h1><b>"))
    assert "&lt;i&gt;b{}" in page


def test_photos_that_were_not_checked_yet_are_told() -> None:
    assert "have not been checked yet" in photo_page("anna", [], [])
