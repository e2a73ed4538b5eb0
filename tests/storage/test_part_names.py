"""Names of files that hold a part of a recording."""

from __future__ import annotations

import pytest

from consistency_tta.storage.part_names import Part, SharedNames, plain, seconds


@pytest.mark.parametrize(
    ("time", "value"),
    [
        ("30", 30.0),
        ("-2.5", -2.5),
        ("999999999", 999999999.0),
        *((time, None) for time in ("1e9", "-1e9", "1e10", "nan", "inf", "30_40", "x", "")),
    ],
)
def test_times_are_numbers_that_recordings_reach(time: str, value: float | None) -> None:
    assert seconds(time) == value
    assert plain(f" {time} ") == (time if value is None else plain(time))


def test_a_part_is_called_by_its_times_in_every_way_that_downloaders_have() -> None:
    whole = ["30", "30.0", "30.00", "30.000", "30000", "030", "0030", "000030", "030000"]
    assert {f"v_{time}" for time in whole} <= set(Part("v", "30").forms())
    assert {f"Yv_{time}" for time in whole} <= set(Part("v", "30").forms())
    assert "v_010130" in Part("v", "3690").forms()  # hours, minutes, seconds
    parts = {"2.5", "2.50", "2.500", "2500", "002500"}
    assert {form for form in Part("v", "2.5").forms() if form.count("_") == 1 and "-" not in form} == {
        f"{letter}v_{time}" for time in parts for letter in ("", "Y")
    }
    assert Part("v", "2.5").forms()[0] == "v_2.5"
    assert Part("v", "30", "37").forms()[0] == "v_30_37"
    assert {"v_30-37", "Yv_30000_37000", "v_000030_000037", "v_30"} <= set(Part("v", "30", "37").forms())
    assert {"v_30_40", "v_30-40"} <= set(Part("v", "30").forms())  # AudioCaps' ten seconds


def test_a_start_that_is_no_number_is_taken_as_it_is() -> None:
    assert Part("v", "x").forms() == ["v_x", "Yv_x"]
    assert Part("v", "").forms() == []
    assert (Part("v", "x").name, Part("v", "30.0", "40").name, Part("v", "").name) == ("v_x", "v_30_40", "v")


def test_a_name_that_two_parts_could_have_is_neither_ones() -> None:
    seconds_, milliseconds = Part("v", "30"), Part("v", "30000")
    shared = SharedNames([seconds_, milliseconds])
    assert "v_30000" in shared.shared
    assert "v_30" in shared.names(seconds_)
    assert "v_30000" not in shared.names(seconds_) + shared.names(milliseconds)
    assert "v" not in shared.names(seconds_)
    assert SharedNames([seconds_]).names(seconds_)[-2:] == ["v", "Yv"]  # of its only part


@pytest.mark.parametrize("name", ["v_30", "v_30_40", "Yv_30", "v_000030"])
@pytest.mark.parametrize("recording", ["v", "a_b-c_d"])
def test_a_recording_called_as_another_ones_part_is_not_taken_for_it(name: str, recording: str) -> None:
    part = Part(recording, "30", "40" if name.count("_") == 2 else "")
    name = name.replace("v", recording)
    other = Part(name, "0")
    shared = SharedNames([part, other])
    assert name in shared.shared
    assert name not in shared.names(part)
    assert f"{name}_0" in shared.names(other)
    assert shared.names(part)


def test_the_letter_in_front_may_be_another_ids() -> None:
    one, other = Part("abc", "30"), Part("Yabc", "30")
    shared = SharedNames([one, other])
    assert "Yabc_30" not in shared.names(one) + shared.names(other)
    assert "abc_30" in shared.names(one)
    assert "YYabc_30" in shared.names(other)
