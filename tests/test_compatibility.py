"""What a host and a board must have to run a pack's kernels: each refusal says what is required and what there is."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_pack_manifest import example

from host import errors
from host.compatibility import CompatibilityChecker, check_wamr, choose
from host.pack.flavours import FEATURES, FLAVOURS, PORTABLE

KERNEL = example().kernels[0]
HOST = CompatibilityChecker(wasmtime="50.0.1", kern="0.1.0", features=FEATURES)


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


# ---- CompatibilityChecker ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "needed", "fits"),
    [
        ("50.0.0", "50.0.0", True),
        ("50.0.1", "50.0.0", True),
        ("50.1.0", "50.0.99", True),
        ("49.9.9", "50.0.0", False),
        ("50.0.0", "50.0.1", False),
        ("9.0.0", "10.0.0", False),  # numbers, not text
        ("100.0.0", "50.0.0", True),
        ("50.0.0rc1", "50.0.0", False),
        ("50.0.0.dev3", "50.0.0", False),
        ("50.0.1rc1", "50.0.0", True),
        ("50.0.0.post1", "50.0.0", True),
        ("50.0.0+local", "50.0.0", True),
        ("49.9.9+z", "50.0.0", False),
        ("50", "50.0.0", True),
    ],
)
def test_wasmtime_must_be_as_new_as_every_kernel_says(installed: str, needed: str, fits: bool) -> None:
    host = replace(HOST, wasmtime=installed)
    *others, last = (replace(kernel, wasmtime_min_version="1.0.0") for kernel in example().kernels)
    manifest = replace(example(), kernels=(*others, replace(last, wasmtime_min_version=needed)))
    if fits:
        host.check(manifest)
    else:
        told = f"{last.spec.id} needs wasmtime {needed}, installed is {installed}"
        with pytest.raises(errors.RuntimeTooOld, match=f"^{re.escape(told)}$"):
            host.check(manifest)


@pytest.mark.parametrize(
    ("kern", "minimum", "maximum", "refusal"),
    [
        ("0.1.0", "0.1.0", None, None),
        ("0.1.0", "0.1.0", "0.1.0", None),
        ("1.0.0", "0.9.0", "1.0.0", None),
        ("1.0.0+local", "1.0.0", "1.0.0", None),
        ("1.0.0rc1", "0.9.0", "1.0.0", None),
        ("1.0.1rc1", "1.0.0", "2.0.0", None),
        ("0.10.0", "0.9.0", None, None),
        ("0.1.0", "0.2.0", None, errors.RuntimeTooOld),
        ("0.9.0", "0.10.0", "0.11.0", errors.RuntimeTooOld),
        ("1.0.0rc1", "1.0.0", None, errors.RuntimeTooOld),
        ("1.0.0.dev1", "1.0.0", "1.0.0", errors.RuntimeTooOld),
        ("1.0.1", "0.9.0", "1.0.0", errors.RuntimeTooNew),
        ("1.0.1rc1", "0.9.0", "1.0.0", errors.RuntimeTooNew),
        ("1.0.0.post1", "0.9.0", "1.0.0", errors.RuntimeTooNew),
        ("2.0.0+local", "0.9.0", "1.65.0", errors.RuntimeTooNew),
    ],
)
def test_this_project_must_be_of_a_version_that_the_pack_supports(
    kern: str, minimum: str, maximum: str | None, refusal: type[errors.PackError] | None
) -> None:
    manifest = replace(example(), min_runtime_version=minimum, max_runtime_version=maximum)
    host = replace(HOST, kern=kern)
    if refusal is None:
        host.check(manifest)
        return
    required = f"needs kern {minimum} or newer" if refusal is errors.RuntimeTooOld else f"works up to kern {maximum}"
    with pytest.raises(refusal, match=f"^{re.escape(f'full 1.2.3 {required}, this is {kern}')}$"):
        host.check(manifest)


@pytest.mark.parametrize(
    ("features", "needs", "fits"),
    [
        ((), (), True),
        (("bulk-memory",), ("bulk-memory",), True),
        (("simd128", "bulk-memory"), ("bulk-memory",), True),
        ((), ("bulk-memory",), False),
        (("simd128",), ("bulk-memory",), False),
        (("bulk-memory",), ("bulk-memory", "simd128"), False),
    ],
)
def test_every_kernel_must_have_a_flavour_that_can_run(
    features: tuple[str, ...], needs: tuple[str, ...], fits: bool
) -> None:
    kernel = replace(KERNEL, modules={PORTABLE: replace(KERNEL.portable, features=needs)})
    host, manifest = replace(HOST, features=features), replace(example(), kernels=(kernel,))
    if fits:
        host.check(manifest)
        return
    told = f"rope_f32 needs {', '.join(needs)}; available: {', '.join(sorted(features)) or 'none'}"
    with pytest.raises(errors.MissingFeature, match=f"^{re.escape(told)}$"):
        host.check(manifest)


def test_of_this_host_is_what_is_installed() -> None:
    host = CompatibilityChecker.of_this_host()
    assert (host.wasmtime, host.kern, host.features) == (version("wasmtime"), version("host"), FEATURES)
    host.check(example())
