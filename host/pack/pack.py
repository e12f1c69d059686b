"""A pack as it is used: opened once, verified as a whole, then read from memory.

The rules, each checked by ``Pack.open`` before anything that depends on it:

1. As many trusted keys as must sign the raw bytes of kernels.json did, in kernels.json.sig; only then is that parsed.
2. The manifest names its author's key, which is one of those that signed it, trusted or not.
3. The pack holds exactly the files that the manifest lists, and each has its sha256.
4. Each board image is signed by its author's key and says what the manifest says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from host.errors import HashMismatch, HostError, MalformedPack, NoSuchKernel, WrongTarget
from host.pack import files, image, keys, signature
from host.pack import manifest as manifest_
from host.pack.flavours import PORTABLE
from host.pack.keys import KeyPair, PublicKey, Trust
from host.pack.manifest import FILE, SIGNATURE_FILE, ImageFile, Manifest, ManifestKernel
from host.pack.spec import BYTECODE_TARGET, KernelSpec


@dataclass(frozen=True)
class Pack:
    """A verified pack. ``key`` is its author's; ``signers`` are the trusted keys that signed; ``files`` are by path."""

    manifest: Manifest
    key: PublicKey
    signers: tuple[PublicKey, ...]
    files: Mapping[str, bytes]

    @classmethod
    def open(cls, path: str | Path, trusted: Iterable[PublicKey] | None = None) -> Self:
        """Read the pack in a folder or archive and verify all of it, by the user's `keys.trust` unless given another.

        Raises NoTrustedKey, KeyRevoked, BadSignature, MalformedPack or HashMismatch.
        """
        return cls._verified(files.read(Path(path)), keys.trust() if trusted is None else trusted)

    @classmethod
    def _verified(cls, contents: Mapping[str, bytes], trusted: Iterable[PublicKey]) -> Self:
        raw = _file(contents, FILE)
        signers = signature.verify(raw, _file(contents, SIGNATURE_FILE), trusted)
        manifest = manifest_.parse(raw)
        author = _author(manifest, contents, signers)
        _check_files(manifest, contents)
        for target in manifest.images:
            _check_image(manifest, target, contents, [author])
        return cls(manifest, author, signers, contents)

    @property
    def name(self) -> str:
        """The pack's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The pack's version."""
        return self.manifest.version

    @property
    def security_counter(self) -> int:
        """What downgrade protection goes by."""
        return self.manifest.security_counter

    @property
    def kernels(self) -> dict[str, KernelSpec]:
        """Every kernel by id, in the pack's order."""
        return {kernel.spec.id: kernel.spec for kernel in self.manifest.kernels}

    def kernel(self, kernel_id: str) -> ManifestKernel:
        """What the manifest says of a kernel. Raises NoSuchKernel."""
        for kernel in self.manifest.kernels:
            if kernel.spec.id == kernel_id:
                return kernel
        known = ", ".join(self.kernels)
        raise NoSuchKernel(f"no kernel {kernel_id!r} in {self.name} {self.version}; its kernels: {known}")

    def wasm(self, kernel_id: str, flavour: str = PORTABLE) -> bytes:
        """A kernel's module in a flavour that it has. Raises NoSuchKernel."""
        return self.files[self.kernel(kernel_id).modules[flavour].path]

    def image(self, target: str) -> bytes:
        """The board image for a target. Raises WrongTarget when the pack has none."""
        entry = self.manifest.images.get(target)
        if entry is None:
            known = ", ".join(self.manifest.images) or "none"
            raise WrongTarget(f"{self.name} {self.version} has no board image for {target}; it has: {known}")
        return self.files[entry.path]


def verify_pack(path: str | Path, trusted: Iterable[PublicKey] | None = None) -> Pack:
    """The pack at ``path``, verified: ``Pack.open`` under the name of the command."""
    return Pack.open(path, trusted)


def sign_pack(folder: Path, key: KeyPair, add: bool = False) -> Pack:
    """Sign the pack in ``folder`` with ``key`` instead of whoever signed it; the key becomes its author's.

    With ``add`` the pack keeps its author and all other signatures. They may be anyone's, but all in the pack must fit
    together. Raises MalformedPack, HashMismatch or BadSignature, and leaves the pack alone then.
    """
    contents = files.read(folder)
    raw = _file(contents, FILE)
    if add:
        signed = {**contents, SIGNATURE_FILE: signature.add(raw, _file(contents, SIGNATURE_FILE), key)}
    else:
        manifest = manifest_.parse(raw)
        _check_files(manifest, contents)
        images = {target: _check_image(manifest, target, contents, None) for target in manifest.images}
        signed = assemble(manifest, images, contents, key)
    opened = Pack._verified(signed, [key.public])
    files.write_folder(signed, folder)
    return opened


def assemble(
    manifest: Manifest, images: Mapping[str, image.Image], contents: Mapping[str, bytes], key: KeyPair
) -> dict[str, bytes]:
    """Every file of the pack, signed: of ``manifest`` all but its images and key, the wasm files from ``contents``.

    The images are bound to the manifest's core, and the manifest lists the images' hashes.
    """
    bare = replace(manifest, signing_key=key.public.text, images={})
    core = manifest_.core_sha256(manifest_.write(bare))
    encoded = {target: image.encode_image(replace(each, manifest_sha256=core), key) for target, each in images.items()}
    listed = {
        target: ImageFile(manifest_.image_path(target), hashlib.sha256(data).hexdigest(), len(data))
        for target, data in encoded.items()
    }
    raw = manifest_.write(replace(bare, images=listed))
    result = {FILE: raw, SIGNATURE_FILE: signature.sign(raw, key)}
    result |= {module.path: contents[module.path] for kernel in manifest.kernels for module in kernel.modules.values()}
    return result | {listed[target].path: data for target, data in encoded.items()}


def inspect(path: str | Path, trusted: Iterable[PublicKey] | None = None) -> dict[str, Any]:
    """What a pack or a single board image says, trusted or not, and whether it verifies. For people; JSON types only.

    Nothing in a pack is run, so here, and only here, a manifest is read before its signature is verified.
    """
    path = Path(path)
    known = keys.trust() if trusted is None else Trust.of(trusted)
    if path.is_file() and path.suffix == ".kimg":
        return _inspect_image(files.read_file(path), known)
    contents = files.read(path)
    raw = _file(contents, FILE)
    signed_by = signature.parse(_file(contents, SIGNATURE_FILE))
    manifest = manifest_.parse(raw)
    return {
        "kind": "pack",
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "author": f"{manifest.author_name} <{manifest.author_email}>",
        "signing_key": manifest.signing_key,
        "key_id": _signing_key(manifest).key_id.hex(),
        "signed_by": [key_id.hex() for key_id in signed_by],
        "created_at": manifest.created_at,
        "security_counter": manifest.security_counter,
        "min_runtime_version": manifest.min_runtime_version,
        "max_runtime_version": manifest.max_runtime_version,
        "manifest_sha256": manifest_.core_sha256(raw).hex(),
        "kernels": [
            {
                "id": kernel.spec.id,
                "op": kernel.spec.op,
                "path": kernel.portable.path,
                "wasm_size": {name: len(contents.get(each.path, b"")) for name, each in kernel.modules.items()},
                "aot_size": {target: aot.size for target, aot in kernel.aot.items()},
                "features": list(kernel.portable.features),
            }
            for kernel in manifest.kernels
        ],
        "images": {target: {"path": entry.path, "size": entry.size} for target, entry in manifest.images.items()},
        "trust": _trust(lambda: Pack.open(path, known)),
    }


def _inspect_image(data: bytes, known: Trust) -> dict[str, Any]:
    decoded = image.decode_image(data)
    return {
        "kind": "image",
        "name": decoded.pack_name,
        "version": decoded.pack_version,
        "target": decoded.target,
        "size": len(data),
        "key_id": image.signer_of(data).hex(),
        "abi_version": decoded.abi_version,
        "aot_version": decoded.aot_version,
        "security_counter": decoded.security_counter,
        "min_runtime_version": decoded.min_runtime_version,
        "max_runtime_version": decoded.max_runtime_version,
        "manifest_sha256": decoded.manifest_sha256.hex(),
        "kernels": [
            {
                "id": kernel.spec.id,
                "op": kernel.spec.op,
                "private_size": kernel.private_size,
                "aot_size": len(kernel.body),
            }
            for kernel in decoded.kernels
        ],
        "trust": _trust(lambda: image.verify_image(data, known)),
    }


def _trust(verify: Callable[[], object]) -> dict[str, Any]:
    try:
        verify()
    except HostError as error:
        return {"verified": False, "error": type(error).__name__, "message": str(error)}
    return {"verified": True, "error": None, "message": None}


def _file(contents: Mapping[str, bytes], name: str) -> bytes:
    if name not in contents:
        raise MalformedPack(f"there is no {name}")
    return contents[name]


def _signing_key(manifest: Manifest) -> PublicKey:
    return keys.parse_public(manifest.signing_key, manifest.author_name)


def _author(manifest: Manifest, contents: Mapping[str, bytes], signers: Iterable[PublicKey]) -> PublicKey:
    """Rule 2. Whom trusted keys let speak for the pack need not be trusted, but must have signed."""
    for key in signers:
        if key.text == manifest.signing_key:
            return key
    author = _signing_key(manifest)
    if author.key_id not in signature.parse(contents[SIGNATURE_FILE]):
        raise MalformedPack(f"{FILE}: author.signing_key is none of the keys that signed it")
    signature.verify(contents[FILE], contents[SIGNATURE_FILE], [author])
    return author


def _check_files(manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Rule 3: all that is listed, nothing else, every byte as listed."""
    listed = manifest.files
    for name in contents:
        if name not in listed and name not in (FILE, SIGNATURE_FILE):
            raise MalformedPack(f"{name} is not listed in {FILE}")
    for name, sha256 in listed.items():
        if hashlib.sha256(_file(contents, name)).hexdigest() != sha256:
            raise HashMismatch(f"{name} does not have the sha256 that {FILE} lists")


def _check_image(
    manifest: Manifest, target: str, contents: Mapping[str, bytes], trusted: list[PublicKey] | None
) -> image.Image:
    """Rule 4; with ``trusted`` None, whoever signed the image."""
    entry = manifest.images[target]
    data = contents[entry.path]
    decoded = image.decode_image(data) if trusted is None else image.verify_image(data, trusted)
    if decoded.manifest_sha256 != manifest_.core_sha256(contents[FILE]):
        raise HashMismatch(f"{entry.path} was made for another {FILE}")
    says = {
        "size": (len(data), entry.size),
        "target": (decoded.target, target),
        "pack name": (decoded.pack_name, manifest.name),
        "pack version": (decoded.pack_version, manifest.version),
        "security counter": (decoded.security_counter, manifest.security_counter),
        "min runtime version": (decoded.min_runtime_version, manifest.min_runtime_version),
        "max runtime version": (decoded.max_runtime_version, manifest.max_runtime_version),
        "kernels": (
            [kernel.spec for kernel in decoded.kernels],
            [image.as_on_board(kernel.spec) for kernel in manifest.kernels],
        ),
        "features": (
            decoded.features,
            image.features_of(feature for kernel in manifest.kernels for feature in kernel.portable.features),
        ),
        "AOT files" if target != BYTECODE_TARGET else "modules": (
            [(hashlib.sha256(kernel.body).hexdigest(), len(kernel.body)) for kernel in decoded.kernels],
            [_listed_body(kernel, target, contents) for kernel in manifest.kernels],
        ),
    }
    for what, (actual, expected) in says.items():
        if actual != expected:
            raise MalformedPack(f"{entry.path} and {FILE} do not say the same: {what}")
    return decoded


def _listed_body(kernel: ManifestKernel, target: str, contents: Mapping[str, bytes]) -> tuple[str, int]:
    """sha256 and size of what the image for ``target`` must have of a kernel: an AOT file, or the portable module."""
    if target == BYTECODE_TARGET:
        return kernel.portable.sha256, len(contents[kernel.portable.path])
    return kernel.aot[target].sha256, kernel.aot[target].size
