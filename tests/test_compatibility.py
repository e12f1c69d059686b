"""What a host and a board must have to run a pack's kernels: each refusal says what is required and what there is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_pack_manifest import example

from host import errors
from host.compatibility import check_wamr, choose
from host.pack.flavours import FEATURES, FLAVOURS, PORTABLE

KERNEL = example().kernels[0]


@given(st.lists(st.sampled_from(FEATURES), unique=True))
def test_the_chosen_flavour_needs_nothing_that_is_not_there_and_no_better_one_is_left(features: list[str]) -> None:
    able = [name for name, needs in FLAVOURS.items() if set(needs) <= set(features)]
    if able:
        assert choose(KERNEL, features) == max(able, key=lambda name: len(FLAVOURS[name]))
    else:
        with pytest.raises(errors.MissingFeature, match=r"rope_f32 needs bulk-memory; available: (none|simd128)$"):
            choose(KERNEL, features)


def test_a_flavour_that_needs_nothing_runs_everywhere() -> None:
    bare = replace(KERNEL, modules={PORTABLE: replace(KERNEL.portable, features=())})
    assert choose(bare, ()) == PORTABLE


def test_a_board_with_an_older_wamr_is_refused_with_both_versions() -> None:
    manifest = example()
    check_wamr(manifest, "2.4.3")
    check_wamr(manifest, "10.0.0")
    with pytest.raises(errors.RuntimeTooOld, match=r"rope_f32 needs WAMR 2\.4\.3, the board has 2\.4\.2"):
        check_wamr(manifest, "2.4.2")
