"""Which files are time points of one series."""

import pytest

from dimstream_client.watching.complete_files import Arrivals
from dimstream_client.watching.time_series import NamingRule, Place

NAMES = {
    "img12.tif": Place("img#.tif", 12),
    "sub/img_0007.ome.tif": Place("sub/img_#.ome.tif", 7),
    "cell2_t07_ch1.tif": Place("cell2_t#_ch1.tif", 7),
    "name_w1_T12.TIF": Place("name_w1_T#.TIF", 12),
    "img_channel000_position001_time000000003_z000.tif": Place(
        "img_channel000_position001_time#_z000.tif", 3
    ),
    "2026-11-30_run3_z01.tif": Place("2026-11-30_run#_z01.tif", 3),
    "STED 640 {5}.msr": Place("STED 640 {#}.msr", 5),
    "overview.tif": Place("overview.tif"),
    "img_z3_c1.tif": Place("img_z3_c1.tif"),
    "cells12.tif": Place("cells#.tif", 12),  # not the label s
    "Series003_t07_z00_ch01.tif": Place("Series003_t#_z00_ch01.tif", 7),
    "Experiment-01_t7_c2.tif": Place("Experiment-01_t#_c2.tif", 7),
    "cellst007xy1c2.tif": Place("cellst#xy1c2.tif", 7),
    "12h40m31s451880us_snap_APDgreen.hdf5": Place("#_snap_APDgreen.hdf5", 124031451880),
    "cell_2026-11-30_12-40-31.tif": Place("cell_#.tif", 20261130124031),
    "20261130_124031_img5.tif": Place("20261130_124031_img#.tif", 5),
    "20261130_124031_t5.tif": Place("20261130_124031_t#.tif", 5),
    "7.tif": Place("#.tif", 7),
}


@pytest.mark.parametrize(("name", "place"), NAMES.items(), ids=NAMES)
def test_the_time_number_of_a_name(name, place):
    assert NamingRule().place_of(name) == place


def test_a_rule_of_ones_own():
    rule = NamingRule(r"scan([0-9]+)_")
    assert rule.place_of("t5_scan03_x9.tif") == Place("t5_scan#_x9.tif", 3)
    assert rule.place_of("t5.tif") == Place("t5.tif")
    assert NamingRule("none").place_of("img1.tif") == Place("img1.tif")


def test_what_is_at_rest_and_what_grows():
    arrivals = Arrivals(2.0)
    arrivals.look({"a": (10, 1), "b": (10, 1), "c": (10, 1)}, 0.0)
    arrivals.look({"a": (10, 1), "b": (20, 2), "c": (5, 2)}, 1.0)
    assert [name for name in "abc" if arrivals.is_at_rest(name, 2.0)] == ["a"]
    assert [name for name in "abc" if arrivals.is_growing(name)] == ["b"]
    arrivals.look({"a": (10, 1)}, 3.0)
    assert arrivals.names == ("a",)
    assert (arrivals.last_change, arrivals.quiet_s("a", 3.0), arrivals.quiet_s("b", 3.0)) == (3.0, 3.0, 0.0)
