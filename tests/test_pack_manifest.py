"""kernels.json and its signature: one way to say things, and every other is refused by the field's name."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import jsonschema
import mutations
import pytest
import vectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vectors import generate, specs

from host import errors
from host.pack import keys, manifest, schema, signature
from host.pack.flavours import FEATURES, FLAVOURS, PORTABLE
from host.pack.image import ImageKernel
from host.pack.manifest import AotFile, Benchmarks, ImageFile, Manifest, ManifestKernel, Module
from host.pack.spec import Backward

Edit = Callable[[dict[str, Any]], object]
KEY = vectors.KEYS["test"]
HASH = "sha256:" + "0" * 64


def example() -> Manifest:
    """A manifest of the kernels in the vectors."""
    return Manifest(
        name="full",
        version="1.2.3",
        description="Kernels that use every field",
        min_runtime_version="0.1.0",
        max_runtime_version=None,
        security_counter=1,
        created_at="2026-01-02T03:04:05Z",
        author_name="The authors",
        author_email="authors@example.org",
        signing_key=KEY.public.text,
        kernels=tuple(
            ManifestKernel(
                spec=kernel.spec,
                modules={name: Module(module_path(kernel.spec.id, name), "1" * 64, FLAVOURS[name]) for name in built},
                wasmtime_min_version="50.0.0",
                wamr_min_version="2.4.3",
                aot={"thumbv6m-soft": AotFile("2" * 64, 100)},
                benchmarks=Benchmarks(64, dict.fromkeys(built, 12.5)) if kernel.spec.bench else None,
            )
            for kernel, built in zip(described(), (FLAVOURS, [PORTABLE], [PORTABLE]), strict=True)
        ),
        images={"thumbv6m-soft": ImageFile("aot/thumbv6m-soft.kimg", "3" * 64, 5000)},
    )


def described() -> list[ImageKernel]:
    """The kernels in the vectors, the first of them with everything that a manifest can say and an image cannot."""
    first, *others = (replace(kernel, spec=replace(kernel.spec, category="test")) for kernel in generate.full().kernels)
    spec = first.spec
    backward = Backward(inputs=spec.inputs, outputs=spec.outputs, scratch=spec.scratch)
    spec = replace(spec, backward=backward, bench={"n": 16, "m": 4}, error_bound="2 units in the last place")
    return [replace(first, spec=spec), *others]


def module_path(kernel_id: str, flavour: str) -> str:
    return f"dir/{kernel_id}.wasm" if flavour == PORTABLE else f"dir/{kernel_id}.{flavour}.wasm"


DATA: dict[str, Any] = json.loads(manifest.write(example()))


def edited(edit: Edit) -> bytes:
    data = copy.deepcopy(DATA)
    edit(data)
    return json.dumps(data).encode()


@st.composite
def manifest_kernels(draw: st.DrawFn, id: str, targets: list[str]) -> ManifestKernel:
    spec = draw(specs.kernels(id))
    features = st.lists(st.sampled_from(FEATURES), unique=True).map(tuple)
    built = [PORTABLE, *draw(st.sampled_from([[], ["simd128"]]))]
    counts = st.floats(min_value=0, exclude_min=True, allow_infinity=False) | st.integers(1, 2**53)
    return ManifestKernel(
        spec=spec,
        modules={name: Module(module_path(id, name), draw(specs.SHA256).hex(), draw(features)) for name in built},
        wasmtime_min_version="50.0.0",
        wamr_min_version="2.4.3",
        aot={target: AotFile(draw(specs.SHA256).hex(), draw(specs.U32)) for target in targets},
        benchmarks=None if spec.bench is None else Benchmarks(draw(specs.U32), {name: draw(counts) for name in built}),
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    targets = draw(st.lists(st.sampled_from(["thumbv6m-soft", "riscv32-ilp32"]), unique=True))
    ids = draw(st.lists(specs.IDS, min_size=1, max_size=3, unique=True))
    return Manifest(
        name=draw(st.from_regex(r"[a-z][a-z0-9_-]{0,30}", fullmatch=True)),
        version=draw(st.from_regex(r"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})\.0(-[a-z0-9.]{1,8})?", fullmatch=True)),
        description=draw(specs.PROSE),
        min_runtime_version="0.1.0",
        max_runtime_version=draw(st.sampled_from([None, "0.1.0", "65535.255.255"])),
        security_counter=draw(specs.U32),
        created_at=draw(st.sampled_from([None, "1980-01-01T00:00:00Z"])),
        author_name=draw(specs.PROSE),
        author_email=draw(specs.PROSE),
        signing_key=KEY.public.text,
        kernels=tuple(draw(manifest_kernels(id, targets)) for id in ids),
        images={
            target: ImageFile(f"aot/{target}.kimg", draw(specs.SHA256).hex(), draw(specs.U32)) for target in targets
        },
    )


@given(manifests())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_parsing_gives_back_what_was_written(source: Manifest) -> None:
    raw = manifest.write(source)
    assert manifest.parse(raw) == source
    jsonschema.validate(json.loads(raw), json.loads(json.dumps(schema.load(schema.KERNELS))))


def test_schema_is_one() -> None:
    for name in (schema.KERNELS, schema.SOURCE):
        jsonschema.Draft202012Validator.check_schema(dict(schema.load(name)))


def test_core_is_the_manifest_without_images_in_canonical_form() -> None:
    raw = manifest.write(example())
    core = {name: value for name, value in DATA.items() if name != "images"}
    canonical = json.dumps(core, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    assert manifest.core_sha256(raw) == hashlib.sha256(canonical).digest()
    assert manifest.core_sha256(edited(lambda d: d.update(images={}))) == manifest.core_sha256(raw)
    assert manifest.core_sha256(edited(lambda d: d.update(version="1.2.4"))) != manifest.core_sha256(raw)


Path = tuple[Any, ...]


def members(data: Any, path: Path = ()) -> list[Path]:
    """Paths of all members of all objects in ``data``; of kernels, only the first, which has every field."""
    if isinstance(data, dict):
        return [(*path, name) for name in data] + [
            deeper for name, value in data.items() for deeper in members(value, (*path, name))
        ]
    if isinstance(data, list):
        items = data[:1] if path == ("kernels",) else data
        return [deeper for index, value in enumerate(items) for deeper in members(value, (*path, index))]
    return []


def parent(data: Any, path: Path) -> Any:
    for step in path[:-1]:
        data = data[step]
    return data


def is_entry(path: Path) -> bool:
    """Whether the member is an entry of an object whose keys are free."""
    free = {"fallbacks", "params", "images", "aot", "flavours", "instructions_per_element"}
    return len(path) > 1 and (path[-2] in free or is_size(path))


def is_size(path: Path) -> bool:
    """Whether the member is a symbol's value."""
    return path[-3:-1] in [("test", "symbols"), ("benchmarks", "symbols")]


def may_be_left_out(path: Path) -> bool:
    optional = {"optional", "backward", "error_bound", "benchmarks", "flavours"}
    return path[-1] in optional or path[-2:] == ("backward", "scratch")


def name_of(path: Path) -> str:
    return ".".join(map(str, path)) or "top"


@pytest.mark.parametrize("path", [p for p in members(DATA) if not (is_entry(p) or may_be_left_out(p))], ids=name_of)
def test_missing_field_is_refused_by_name(path: Path) -> None:
    missing = "shape" if path[-1] == "shapes" else re.escape(path[-1])
    with pytest.raises(errors.MalformedPack, match=f"'{missing}' is a required property"):
        manifest.parse(edited(lambda data: parent(data, path).pop(path[-1])))


ALSO_FINE: dict[str, list[Any]] = {
    "max_runtime_version": [None],
    "created_at": [None],
    "optional": [True],
    "aot_available": [True],
    "scratch": [[]],
    "features": [[]],
    "fallbacks": [{}],
    "params": [{}],
    "portable": [7.5],
    "simd128": [7.5],
}


@pytest.mark.parametrize("path", members(DATA), ids=name_of)
def test_value_of_another_type_or_form_is_refused(path: Path) -> None:
    values: list[Any] = [None, 7.5, [], {}, "", "\n", -1, True]
    for value in values:
        kind = parent(DATA, path).get("type")
        by_type: dict[str, list[Any]] = {"f32": [7.5, -1], "i32": [-1], "bool": [True]}
        fits = by_type.get(kind, []) if path[-1] == "default" else []
        if any(value is fine or value == fine != 1 for fine in fits + ALSO_FINE.get(path[-1], [])):
            continue
        with pytest.raises(errors.MalformedPack):
            manifest.parse(edited(lambda data: parent(data, path).update({path[-1]: value})))  # noqa: B023


@pytest.mark.parametrize("path", sorted({p[:-1] for p in members(DATA)}, key=str), ids=name_of)
def test_unknown_field_is_refused_by_name(path: Path) -> None:
    with pytest.raises(errors.MalformedPack, match="no_such_field"):
        manifest.parse(edited(lambda data: parent(data, (*path, "")).update(no_such_field=1)))


def wasmtime(data: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = data["kernels"][0]["platforms"]["wasmtime"]
    return entry


REFUSED: dict[str, tuple[Edit, str]] = {
    "path up": (lambda d: d["kernels"][0].update(path="../x.wasm"), r"kernels\[0\]\.path"),
    "path up inside": (lambda d: d["kernels"][0].update(path="a/../../x.wasm"), r"kernels\[0\]\.path"),
    "absolute path": (lambda d: d["kernels"][0].update(path="/x.wasm"), r"kernels\[0\]\.path"),
    "backslash": (lambda d: d["kernels"][0].update(path="a\\x.wasm"), r"kernels\[0\]\.path"),
    "empty component": (lambda d: d["kernels"][0].update(path="a//x.wasm"), r"kernels\[0\]\.path"),
    "hidden file": (lambda d: d["kernels"][0].update(path=".x"), r"kernels\[0\]\.path"),
    "final newline": (lambda d: d["kernels"][0].update(path="x.wasm\n"), r"kernels\[0\]\.path"),
    "path of the manifest itself": (lambda d: d["kernels"][0].update(path="kernels.json.sig"), "paths: 'kernels.json"),
    "path twice": (lambda d: d["kernels"][0].update(path=d["kernels"][1]["path"]), "paths: .* comes 2 times"),
    "image elsewhere": (lambda d: d["images"]["thumbv6m-soft"].update(path="x.kimg"), r"images\.thumbv6m-soft\.path"),
    "short hash": (lambda d: d["kernels"][0].update(hash=HASH[:-1]), r"kernels\[0\]\.hash"),
    "long hash": (lambda d: d["kernels"][0].update(hash=HASH + "0"), r"kernels\[0\]\.hash"),
    "hash in capitals": (lambda d: d["kernels"][0].update(hash="sha256:" + "A" * 64), r"kernels\[0\]\.hash"),
    "other hash": (lambda d: d["kernels"][0].update(hash="md5:" + "0" * 32), r"kernels\[0\]\.hash"),
    "id twice": (lambda d: d["kernels"][0].update(id=d["kernels"][1]["id"]), "kernel ids"),
    "long id": (lambda d: d["kernels"][0].update(id="k" * 24), r"kernels\[0\]\.id"),
    "no kernels": (lambda d: d.update(kernels=[]), "kernels"),
    "65 kernels": (lambda d: d.update(kernels=d["kernels"][:1] * 65), "kernels"),
    "integer as float": (lambda d: d.update(security_counter=1.0), "security_counter"),
    "boolean as integer": (lambda d: d.update(security_counter=True), "security_counter"),
    "counter beyond 32 bits": (lambda d: d.update(security_counter=2**32), "security_counter"),
    "runtime versions swapped": (lambda d: d.update(max_runtime_version="0.0.9"), "max_runtime_version"),
    "runtime version beyond 8 bits": (lambda d: d.update(min_runtime_version="0.256.0"), "0.256.0"),
    "runtime version with zeros": (lambda d: d.update(min_runtime_version="0.01.0"), "min_runtime_version"),
    "other schema": (lambda d: d.update({"$schema": "urn:other"}), "schema"),
    "key not canonical": (
        lambda d: d["author"].update(signing_key="ed25519:" + "A" * 42 + "B="),
        r"author\.signing_key.*canonical",
    ),
    "fallback of no kernel": (lambda d: d["fallbacks"].update(ghost="rope_f32"), "ghost"),
    "flavour at the portable one's path": (
        lambda d: wasmtime(d)["flavours"]["simd128"].update(path=d["kernels"][0]["path"]),
        "paths: .* comes 2 times",
    ),
    "unknown flavour": (lambda d: wasmtime(d)["flavours"].update(avx=wasmtime(d)["flavours"]["simd128"]), "'avx'"),
    "portable flavour twice": (
        lambda d: wasmtime(d)["flavours"].update(portable=wasmtime(d)["flavours"]["simd128"]),
        "'portable'",
    ),
    "unknown feature": (lambda d: wasmtime(d).update(features=["threads"]), r"wasmtime\.features\[0\]"),
    "benchmark of a flavour that there is not": (
        lambda d: d["kernels"][1].update(benchmarks=d["kernels"][0]["benchmarks"] | {"symbols": {"n": 1}}),
        "kernel lora_apply: benchmarks: must have an entry for each flavour",
    ),
    "benchmark lacks a flavour": (
        lambda d: d["kernels"][0]["benchmarks"]["instructions_per_element"].pop("simd128"),
        "kernel rope_f32: benchmarks: must have an entry for each flavour",
    ),
    "benchmark lacks a symbol": (
        lambda d: d["kernels"][0]["benchmarks"]["symbols"].pop("m"),
        r"benchmarks\.symbols: has no value for 'm'",
    ),
    "benchmark of nothing": (
        lambda d: d["kernels"][0]["benchmarks"]["instructions_per_element"].update(portable=0),
        "instructions_per_element.portable",
    ),
    "backward that cannot find a symbol": (
        lambda d: d["kernels"][0]["backward"]["inputs"][0].update(optional=True),
        "backward: symbols: 'n' is not by itself a dimension",
    ),
    "backward with a param's name": (
        lambda d: d["kernels"][0]["backward"]["inputs"][0].update(name="theta"),
        "backward: .*'theta' comes 2 times",
    ),
    "targets differ": (lambda d: d.update(images={}), "same targets as images"),
    "aot_available is wrong": (
        lambda d: d["kernels"][0]["platforms"]["wamr"].update(aot_available=False),
        "aot_available",
    ),
    "unknown symbol": (lambda d: d["kernels"][0]["outputs"][0].update(shape=["k"]), "'k' is not among the symbols"),
    "star inside": (lambda d: d["kernels"][0]["outputs"][0].update(shape=["n", "*n"]), "no dimension"),
    "star on a product": (lambda d: d["kernels"][1]["outputs"][0].update(shape=["*n*2"]), "symbol by itself"),
    "divisor too large": (lambda d: d["kernels"][0]["outputs"][0].update(shape=["n/256"]), "at most 255"),
    "rank 5": (lambda d: d["kernels"][0]["outputs"][0].update(shape=["n"] * 5), r"outputs\[0\]\.shape"),
    "shape and shapes": (lambda d: d["kernels"][0]["outputs"][0].update(shapes=[["n"], ["m"]]), r"outputs\[0\]"),
    "optional output": (lambda d: d["kernels"][0]["outputs"][0].update(optional=True), "optional"),
    "output in an input's region": (lambda d: d["kernels"][0]["outputs"][0].update(region="input_a"), "region"),
    "input only optional": (lambda d: d["kernels"][0]["inputs"][0].update(optional=True), "always given"),
    "tensor named twice": (lambda d: d["kernels"][0]["outputs"][0].update(name="x"), "tensors: 'x' comes 2 times"),
    "param named like an input": (
        lambda d: d["kernels"][0]["params"].update(x=d["kernels"][0]["params"].pop("interleaved")),
        "'x' comes 2 times",
    ),
    "param named like a symbol": (
        lambda d: d["kernels"][0]["params"].update(n=d["kernels"][0]["params"].pop("interleaved")),
        "'n' comes 2 times",
    ),
    "param named out": (
        lambda d: d["kernels"][0]["params"].update(out=d["kernels"][0]["params"].pop("interleaved")),
        "'out'",
    ),
    "param at another offset": (lambda d: d["kernels"][0]["params"]["pos"].update(offset=8), r"params\.pos\.offset"),
    "default too large for f32": (lambda d: d["kernels"][0]["params"]["theta"].update(default=1e39), "theta"),
    "default too large for u32": (lambda d: d["kernels"][0]["params"]["pos"].update(default=2**32), "pos"),
    "negative default of u32": (lambda d: d["kernels"][0]["params"]["pos"].update(default=-1), "pos"),
    "number as bool": (lambda d: d["kernels"][0]["params"]["interleaved"].update(default=1), "interleaved"),
    "bool as number": (lambda d: d["kernels"][0]["params"]["theta"].update(default=True), "theta"),
    "test lacks a symbol": (lambda d: d["kernels"][0]["test"]["symbols"].pop("n"), r"test\.symbols"),
    "test has one more": (lambda d: d["kernels"][0]["test"]["symbols"].update(k=1), r"test\.symbols"),
    "control character": (lambda d: d.update(description="\x1b[31m"), "description"),
    "half a surrogate pair": (lambda d: d.update(description="\ud800"), "description"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_manifest_that_makes_no_sense_is_refused_by_name(name: str) -> None:
    edit, message = REFUSED[name]
    with pytest.raises(errors.MalformedPack, match=message):
        manifest.parse(edited(edit))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "Expecting value"),
        (b"[]", "not of type 'object'"),
        (b"\xff{}", "utf-8"),
        (b'{"name": 1, "name": 1}', "'name' comes 2 times"),
        (b'{"security_counter": NaN}', "NaN is no JSON"),
        (b'{"security_counter": Infinity}', "Infinity is no JSON"),
        (b'{"security_counter": 1e999}', "1e999 is no JSON"),
        (b"[" * 200_000, "recursion|depth"),
        (b'{"x": ' + b"1" * 5000 + b"}", "digits"),
        (b" " * (manifest.MAX_SIZE + 1), "at most 1048576"),
        (b"{} {}", "Extra data"),
    ],
    ids=[
        "empty",
        "list",
        "not utf-8",
        "key twice",
        "nan",
        "infinity",
        "beyond a double",
        "deep",
        "long number",
        "oversize",
        "two",
    ],
)
def test_bytes_that_are_no_manifest_are_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(errors.MalformedPack, match=message):
        manifest.parse(raw)


@given(mutations.mutations(DATA))
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_changed_manifest_is_refused_by_name_or_says_just_what_it_says(mutation: mutations.Mutation) -> None:
    """Nothing in a manifest is ever passed over: it is refused, or it comes out again."""
    raw = mutation.json()
    try:
        parsed = manifest.parse(raw)
    except errors.MalformedPack as error:
        assert any(name in str(error) for name in mutation.names), error
        return
    assert json.loads(manifest.write(parsed)) == said(json.loads(raw))


def said(data: Any) -> Any:
    """A manifest without what may be said or not: flags that are false, a factor of 1, no scratch of backward."""
    if isinstance(data, dict):
        kept = {name: said(value) for name, value in data.items() if name not in ("optional", "inout") or value}
        if isinstance(kept.get("backward"), dict) and kept["backward"].get("scratch") == []:
            del kept["backward"]["scratch"]
        return kept
    if isinstance(data, list):
        return [said(item) for item in data]
    return re.sub(r"[*/]1(?![0-9])", "", data) if isinstance(data, str) else data


@given(mutations.damaged(manifest.write(example())))
@settings(deadline=None, max_examples=300)
def test_bytes_at_random_are_a_manifest_or_malformed(raw: bytes) -> None:
    with suppress(errors.MalformedPack):
        manifest.parse(raw)


@given(st.sampled_from(["path", "flavour", "image"]), mutations.PATH_ESCAPES)
@settings(deadline=None)
def test_path_that_leads_out_of_the_pack_is_refused_by_name(place: str, path: str) -> None:
    def edit(data: dict[str, Any]) -> None:
        kernel = data["kernels"][0]
        holder = {
            "path": kernel,
            "flavour": kernel["platforms"]["wasmtime"]["flavours"]["simd128"],
            "image": data["images"]["thumbv6m-soft"],
        }[place]
        holder["path"] = path

    with pytest.raises(errors.MalformedPack, match=r"\.path: "):
        manifest.parse(edited(edit))


@given(
    st.from_regex(r"(sha256:)?[0-9a-fA-F]{0,130}", fullmatch=True).filter(
        lambda text: not re.fullmatch("sha256:[0-9a-f]{64}", text)
    )
)
@settings(deadline=None)
def test_hash_in_another_form_is_refused_by_name(text: str) -> None:
    with pytest.raises(errors.MalformedPack, match=r"kernels\[0\]\.hash: "):
        manifest.parse(edited(lambda data: data["kernels"][0].update(hash=text)))


def test_duplicate_key_deep_inside_is_refused_by_name() -> None:
    raw = manifest.write(example()).replace(b'"seed": 7', b'"seed": 7, "seed": 7', 1)
    with pytest.raises(errors.MalformedPack, match="'seed' comes 2 times"):
        manifest.parse(raw)


# ---- kernels.json.sig -----------------------------------------------------------------------------


def test_signature_verifies_over_the_raw_bytes_with_its_domain() -> None:
    raw = manifest.write(example())
    signed = signature.sign(raw, KEY)
    assert signature.verify(raw, signed, vectors.TRUSTED) == (KEY.public,)
    with pytest.raises(errors.BadSignature):
        signature.verify(raw + b" ", signed, vectors.TRUSTED)
    with pytest.raises(errors.NoTrustedKey):
        signature.verify(raw, signed, [vectors.KEYS["stranger"].public])


def test_signature_without_the_domain_is_bad() -> None:
    """An image's signature, or any other by the same key, does not pass for a manifest's."""
    raw = b"KIMG"
    fields = signature.sign(raw, KEY).decode().split()
    fields[2] = keys.encode_base64(KEY.sign(raw))
    with pytest.raises(errors.BadSignature):
        signature.verify(raw, (" ".join(fields) + "\n").encode(), vectors.TRUSTED)


GOOD_SIGNATURE = signature.sign(b"x", KEY)


def test_every_flipped_bit_in_the_signature_file_is_refused() -> None:
    for bit in range(len(GOOD_SIGNATURE) * 8):
        bad = bytearray(GOOD_SIGNATURE)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises((errors.MalformedPack, errors.NoTrustedKey, errors.BadSignature)):
            signature.verify(b"x", bytes(bad), vectors.TRUSTED)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        GOOD_SIGNATURE[:-1],
        GOOD_SIGNATURE + b"\n",
        GOOD_SIGNATURE.upper(),
        GOOD_SIGNATURE.replace(b" ", b"  "),
        GOOD_SIGNATURE[:-4] + b"B==\n",
        GOOD_SIGNATURE[:-4] + b"AAA\n",
    ],
    ids=["empty", "no newline", "two newlines", "capitals", "blanks", "not canonical", "66 bytes"],
)
def test_signature_file_in_any_other_form_is_malformed(bad: bytes) -> None:
    with pytest.raises(errors.MalformedPack, match=r"kernels\.json\.sig"):
        signature.verify(b"x", bad, vectors.TRUSTED)


@given(mutations.damaged(GOOD_SIGNATURE))
@settings(deadline=None, max_examples=300)
def test_signature_file_of_bytes_at_random_is_the_good_one_or_refused(raw: bytes) -> None:
    if raw == GOOD_SIGNATURE:
        signature.verify(b"x", raw, vectors.TRUSTED)
        return
    with pytest.raises((errors.MalformedPack, errors.NoTrustedKey, errors.BadSignature)):
        signature.verify(b"x", raw, vectors.TRUSTED)
