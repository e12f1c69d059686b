"""Kernel packs: built, signed, opened and verified. docs/pack.md and docs/board-image.md describe them."""

from host.pack.build import build_pack
from host.pack.files import write_archive
from host.pack.image import Gate, Image, body_offsets, decode_image, encode_image, gate_for, verify_image
from host.pack.keys import KeyPair, PublicKey
from host.pack.pack import Pack, inspect, sign_pack, verify_pack
from host.pack.params_header import params_header
from host.pack.source import PackSource, SourceKernel, read_source
from host.pack.spec import KernelSpec

__all__ = [
    "Gate",
    "Image",
    "KernelSpec",
    "KeyPair",
    "Pack",
    "PackSource",
    "PublicKey",
    "SourceKernel",
    "body_offsets",
    "build_pack",
    "decode_image",
    "encode_image",
    "gate_for",
    "inspect",
    "params_header",
    "read_source",
    "sign_pack",
    "verify_image",
    "verify_pack",
    "write_archive",
]
