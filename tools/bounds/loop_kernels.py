"""Random WebAssembly of what bounds checks are compiled for: loops over memory, near its ends and wrapping around."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

PAGE = 65536
PARAMETERS = ("a", "b", "n")
COUNTERS = ("i", "j", "k")
"""Of a loop, the one in it, and the one in that."""
LOCALS = (*COUNTERS, "p", "x")
HEADER = " ".join(f"(param ${name} i32)" for name in PARAMETERS) + " (result i32)"
HEADER += "".join(f" (local ${name} i32)" for name in LOCALS) + " (local $w i64)"
LOADS = {
    "i32.load8_u": 1,
    "i32.load8_s": 1,
    "i32.load16_u": 2,
    "i32.load16_s": 2,
    "i32.load": 4,
}
STORES = {"i32.store8": 1, "i32.store16": 2, "i32.store": 4}
COMPARISONS = ("ne", "lt_u", "lt_s", "le_u", "le_s", "gt_u", "gt_s", "ge_u", "ge_s", "eq")
OFFSETS = (0, 0, 0, 1, 3, 4, 8, 60)
FAR_OFFSETS = (1000, PAGE - 4, PAGE - 1, PAGE, 1 << 20, (1 << 20) + 4, 0x7FFFFFFC, 0xFFFF0000, 0xFFFFFFF0)
STEPS = (1, 1, 2, 4, 4, 4, 8, 12, 64)
FAR_STEPS = (4096, -1, -4, -8, 1 << 20, (1 << 20) + 1, 1 << 30, 1 << 31)
MASKS = (1, 3, 7, 15, 15, 31, 63, 255)
WIDE_MASKS = (1020, 0xFFFF, 0xFFFFF, 0x1FFFFF)
CONSTANTS = (0, 1, 2, 3, 4, 7, 8, 16, 100, 255, 1024, PAGE - 4, PAGE - 1, PAGE, 1 << 31, 0xFFFFFFF0, 0xFFFFFFFF)


@dataclass
class Kernel:
    """A function of three i32, as text, and what is in it that arguments should meet."""

    text: str = ""
    offsets: list[int] = field(default_factory=lambda: [0])
    steps: list[int] = field(default_factory=lambda: [1])


class Writer:
    """Writes one function. A loop nests up to two more."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.kernel = Kernel()
        self.tame = source.randrange(3) != 0
        """Whether most accesses are meant to be within memory."""
        self.labels = 0
        self.open: list[str] = []
        """Labels of the loops and blocks around, innermost last."""

    def function(self, name: str) -> Kernel:
        before = [self.statement() for _ in range(self.source.randrange(3))]
        loops = [self.loop(self.source.choice((0, 0, 0, 1, 2))) for _ in range(self.source.choice((1, 1, 2)))]
        body = "\n  ".join((*before, *loops))
        self.kernel.text = f"(func ${name} {HEADER}\n  {body}\n  {self.mix(self.local())} (local.get $x))"
        return self.kernel

    def counter(self) -> str:
        """Of the innermost loop that is open."""
        return COUNTERS[max(len(self.open) // 2 - 1, 0)]

    # ---- values

    def pick(self, *choices: object) -> str:
        """One of ``choices``: texts, or functions that make them."""
        choice = self.source.choice(choices)
        return choice() if callable(choice) else str(choice)

    def local(self) -> str:
        return f"(local.get ${self.source.choice((*PARAMETERS, *LOCALS))})"

    def constant(self) -> str:
        return f"(i32.const {self.source.choice(CONSTANTS)})"

    def masked(self) -> str:
        mask = self.source.choice(MASKS if self.tame or self.source.randrange(3) else WIDE_MASKS)
        return f"(i32.and {self.value(1)} (i32.const {mask}))"

    def value(self, depth: int = 2) -> str:
        if depth == 0:
            return self.pick(self.local, self.local, self.constant)
        made = (lambda: self.operation(depth), lambda: self.choice(depth))
        return self.pick(self.local, self.constant, self.masked, *made)

    def operation(self, depth: int) -> str:
        operator = self.source.choice(("add", "add", "sub", "mul", "shl", "shr_u", "xor", "and", "div_u", "rem_u"))
        return f"(i32.{operator} {self.value(depth - 1)} {self.value(depth - 1)})"

    def choice(self, depth: int) -> str:
        return f"(select {self.value(depth - 1)} {self.value(depth - 1)} {self.condition()})"

    def condition(self) -> str:
        if self.source.randrange(5) == 0:
            return f"(i32.eqz {self.value(1)})"
        return f"(i32.{self.source.choice(COMPARISONS)} {self.value(1)} {self.value(1)})"

    def index(self) -> str:
        """What grows in a loop, or is kept small."""
        name = self.source.choice((self.counter(), self.counter(), *COUNTERS))
        scaled = f"(i32.shl (local.get ${name}) (i32.const {self.source.randrange(5)}))"
        times = f"(i32.mul (local.get ${name}) (i32.const {self.step()}))"
        by_variable = f"(i32.mul (local.get ${name}) (local.get $b))"
        wide = f"(i32.shl {self.masked()} (i32.const {self.source.randrange(5)}))"
        plain = (f"(local.get ${name})", "(i32.wrap_i64 (local.get $w))", self.masked)
        return self.pick(scaled, scaled, times, by_variable, wide, *plain)

    def address(self) -> str:
        base = self.source.choice(("a", "a", "p", "a" if self.tame else "b"))
        rare = (self.constant, self.value, self.index)
        return self.pick(
            "(local.get $p)",
            f"(local.get ${base})",
            lambda: f"(i32.add (local.get ${base}) {self.index()})",
            lambda: f"(i32.add (local.get ${base}) {self.index()})",
            lambda: f"(i32.add {self.index()} (local.get ${base}))",
            lambda: f"(i32.add (local.get ${base}) (i32.and (local.get $x) (i32.const {self.source.choice(MASKS)})))",
            lambda: f"(i32.sub (local.get ${base}) {self.index()})",
            lambda: f"(i32.add (i32.add (local.get ${base}) {self.masked()}) {self.index()})",
            f"(i32.and {self.index()} (i32.const {PAGE - 8}))" if self.tame else self.source.choice(rare),
        )

    def offset(self) -> str:
        value = self.source.choice(OFFSETS if self.tame or self.source.randrange(3) else FAR_OFFSETS)
        self.kernel.offsets.append(value)
        return f"offset={value}" if value else ""

    def step(self) -> int:
        value = self.source.choice(STEPS if self.tame or self.source.randrange(2) else FAR_STEPS)
        self.kernel.steps.append(value)
        return value

    # ---- statements

    def mix(self, value: str) -> str:
        """Lets the result depend on a value."""
        return f"(local.set $x (i32.add (i32.mul (local.get $x) (i32.const 31)) {value}))"

    def load(self) -> str:
        return f"({self.source.choice(list(LOADS))} {self.offset()} {self.address()})"

    def read(self) -> str:
        return self.mix(self.load())

    def write(self) -> str:
        kind = self.source.choice(list(STORES))
        return f"({kind} {self.offset()} {self.address()} {self.pick(self.local, self.value)})"

    def wide(self) -> str:
        if self.source.randrange(2):
            return f"(i64.store {self.offset()} {self.address()} (i64.extend_i32_u {self.local()}))"
        return self.mix(f"(i32.wrap_i64 (i64.load {self.offset()} {self.address()}))")

    def copy(self) -> str:
        return f"(i32.store {self.offset()} {self.address()} {self.load()})"

    def late(self) -> str:
        """An address is a local's value; the local has another, which is checked, before the address is used."""
        name, address = self.source.choice(("p", self.counter(), "a")), self.address()
        change = f"(local.set ${name} {address}) {self.mix(f'(i32.load (local.get ${name}))')}"
        if self.source.randrange(2):
            return f"(local.get ${name}) {change} (i32.load) (local.set $x)"
        return f"(local.get ${name}) (local.get $x) {change} (i32.store)"

    def bulk(self) -> str:
        size = self.pick(self.masked, self.local, f"(i32.sub (i32.const 0) {self.address()})")
        if self.source.randrange(2):
            return f"(memory.fill {self.address()} {self.local()} {size})"
        return f"(memory.copy {self.address()} {self.address()} {size})"

    def again(self) -> str:
        """The same local's memory at several offsets: checks that share what they compute."""
        name = self.source.choice(("a", "p", "b"))
        kinds = self.source.choices(list(LOADS), k=3)
        return " ".join(self.mix(f"({kind} {self.offset()} (local.get ${name}))") for kind in kinds)

    def guarded(self) -> str:
        other = f" (else {self.access()})" if self.source.randrange(3) == 0 else ""
        return f"(if {self.condition()} (then {self.access()}){other})"

    def assign(self) -> str:
        name = self.source.choice(("p", "b" if not self.tame else "p", "x", "x"))
        return f"(local.set ${name} {self.value()})"

    def trap(self) -> str:
        return f"(if {self.condition()} (then (unreachable)))"

    def leave(self) -> str:
        """Goes on at the next iteration, or leaves a loop, or the function, on a condition."""
        if not self.open or self.source.randrange(4) == 0:
            return f"(if {self.condition()} (then (return {self.local()})))"
        if self.source.randrange(4) == 0:
            targets = " ".join(f"${label}" for label in self.source.choices(self.open, k=3))
            on = f"$on{self.label()}"
            return f"(block {on} (br_table {on} {on} {targets} {on} {self.masked()}))"
        return f"(br_if ${self.source.choice(self.open)} {self.condition()})"

    def call(self) -> str:
        return self.mix(f"(call $helper {self.address()} {self.value()} {self.local()})")

    def access(self) -> str:
        return self.pick(self.read, self.write)

    def statement(self) -> str:
        frequent = (self.read, self.read, self.read, self.write, self.write, self.copy, self.again, self.guarded)
        tame, wild = (self.wide, self.leave, self.assign), (self.late, self.bulk, self.trap, self.call, self.wide)
        rare = tame if self.tame else wild
        return self.pick(*frequent, self.source.choice(rare), self.source.choice(rare))

    # ---- loops

    def label(self) -> int:
        self.labels += 1
        return self.labels

    def advance(self, name: str) -> str:
        fixed, variable = f"(i32.const {self.step()})", "(local.get $b)"
        step = self.pick(fixed, fixed, variable, f"(i32.shl {variable} (i32.const 2))")
        advanced = f"(local.set ${name} (i32.add (local.get ${name}) {step}))"
        return advanced if self.source.randrange(12) else f"(if {self.condition()} (then {advanced}))"

    def body(self, nested: int) -> list[str]:
        """Statements, what advances among them, and at most one inner loop."""
        lines = [self.statement() for _ in range(self.source.randrange(1, 4))]
        for name in self.source.choice(((self.counter(),), (self.counter(), "p"), (self.counter(), "p"))):
            lines.insert(self.source.choice((len(lines), self.source.randrange(len(lines) + 1))), self.advance(name))
        if self.source.randrange(2):
            wide = self.source.choice((1, 4, -1, 1 << 31, (1 << 32) + 4))
            lines.append(f"(local.set $w (i64.add (local.get $w) (i64.const {wide})))")
        if nested:
            lines.insert(self.source.randrange(len(lines) + 1), self.loop(nested - 1))
        return lines

    def go_on(self) -> str:
        """Whether there is another iteration."""
        compare, counter = self.source.choice(("ne", "lt_u", *COMPARISONS[:-1])), self.counter()
        given, fixed = "(local.get $n)", f"(i32.const {self.source.randrange(40)})"
        end = self.pick(given, given, given, fixed, lambda: self.value(1))
        return self.pick(
            f"(i32.{compare} (local.get ${counter}) {end})",
            f"(i32.{compare} (local.get ${counter}) {end})",
            f"(i32.{compare} (local.get ${counter}) {end})",
            f"(i32.{compare} (local.get $p) {end})",
            "(local.tee $n (i32.sub (local.get $n) (i32.const 1)))",
            "(local.tee $n (i32.add (local.get $n) (i32.const -4)))",
            f"(i64.lt_u (local.get $w) (i64.extend_i32_u {end}))",
            f"(i64.ne (i64.extend_i32_u (local.get ${counter})) (i64.extend_i32_u {end}))",
            f"(i32.and (i32.{compare} (local.get ${counter}) {end}) {self.condition()})",
            self.condition,
        )

    def loop(self, nested: int) -> str:
        number = self.label()
        top, out = f"top{number}", f"out{number}"
        self.open += [top, out]
        body, condition = "\n    ".join(self.body(nested)), self.go_on()
        zero, other = (f"(local.set ${self.counter()} {value})" for value in ("(i32.const 0)", "(local.get $b)"))
        start = self.pick(zero, zero, zero, zero, other, "")
        del self.open[-2:]
        start += self.pick(" (local.set $p (local.get $a))", " (local.set $p (local.get $a))", "")
        first, last = self.source.choice(
            (
                ("", f"(br_if ${top} {condition})"),
                ("", f"(br_if ${top} {condition})"),
                ("", f"(br_if ${out} (i32.eqz {condition})) (br ${top})"),
                (f"(br_if ${out} (i32.eqz {condition}))", f"(br ${top})"),
                (f"(br_if ${out} (i32.eqz {condition}))", f"(br_if ${top} {condition})"),
            )
        )
        loop = f"(block ${out} (loop ${top} {first}\n    {body}\n    {last}))"
        if self.source.randrange(3) == 0:
            loop = f"(if (i32.ne (local.get $n) (i32.const 0)) (then {loop}))"
        return f"{start} {loop}"


HELPER = f"""(func $helper {HEADER}
  (if (i32.gt_u (local.get $b) (i32.const 0xfffffff0)) (then (unreachable)))
  (i32.store8 (local.get $a) (local.get $n)) (i32.add (i32.load (local.get $a)) (local.get $b)))"""


def module(source: random.Random, functions: int) -> tuple[str, list[Kernel]]:
    """A module of one page of memory, whose functions are exported as f0, f1, …."""
    kernels = [Writer(source).function(f"f{number}") for number in range(functions)]
    exports = " ".join(f'(export "f{number}" (func $f{number}))' for number in range(functions))
    body = "\n".join(kernel.text for kernel in kernels)
    return f'(module (memory (export "memory") 1 1)\n{exports}\n{body}\n{HELPER})', kernels


def arguments(source: random.Random, kernel: Kernel) -> tuple[int, int, int]:
    """a, b, n: so that all is within memory, or so that the last access is about at its end or the address space's."""
    count = source.choice((0, 1, 2, 3, 7, 8, 20, 40, source.randrange(200)))
    step, offset = source.choice(kernel.steps), source.choice(kernel.offsets)
    kind = source.randrange(9)
    if kind < 3:
        return source.choice((1024, 32768, 40000)), source.choice((4, 8, 1, 0)), count
    if kind == 3:  # leaves memory at once, and would be in it again at the end
        a, n = PAGE - offset - source.randrange(100), (1 << 32) // (abs(step) or 1) - source.randrange(-4, 24)
        return a & 0xFFFFFFFF, step & 0xFFFFFFFF, n & 0xFFFFFFFF
    if kind == 4:  # the same by a step that no loop has
        return source.choice((1024, PAGE - 64)), 1 << source.randrange(27, 32), source.randrange(40)
    end = source.choice((PAGE, PAGE, PAGE, 1 << 32, 0))
    near = end - offset - source.choice((0, count, count)) * step + source.randrange(-12, 13)
    a = source.choice((near, near, near, near, 1024, source.randrange(PAGE), source.choice(CONSTANTS)))
    b = source.choice((step, step, step, 4, 1, 0, near, -4, 0x10000, 0xFFFF, source.choice(CONSTANTS)))
    n = source.choice((count,) * 6 + (near, a + count * step, count * step, source.choice(CONSTANTS)))
    return a & 0xFFFFFFFF, b & 0xFFFFFFFF, n & 0xFFFFFFFF
