// Where the processor's cycles go, exactly: every block that runs is counted with the calls that led to it. Firmware turns it
// on and off (cycle-counter.mjs); what was counted is then written to a file.
//
// The stack of calls is found by the code's own conventions: a block that starts while LR names the end of the block before it
// was called from there, and a call ends where its return address is reached. Frames that are left another way (a trap, the
// deadline) go when one below them is reached.
import fs from 'node:fs';

class Node {
  children = new Map(); // return address, with bit 0 set for an exception's → Node
  cycles = new Map(); // start of a block → cycles

  child(address) {
    let node = this.children.get(address);
    if (node === undefined) {
      this.children.set(address, node = new Node());
    }
    return node;
  }
}

export class Profiler {
  on = false;

  constructor(path) {
    this.path = path;
  }

  start(cycles) {
    this.began = cycles;
    this.root = new Node();
    this.stack = []; // of [return address, Node]
    this.end = -1; // of the block before
    this.pc = null; // of the block that runs; it began before this
    this.on = true;
  }

  /** Written beside its place and moved there, so that a reader finds all or nothing. */
  stop(cycles) {
    if (!this.on) {
      return;
    }
    this.on = false;
    const samples = [];
    const collect = (node, stack) => {
      for (const [pc, count] of node.cycles) {
        samples.push([stack, pc, count]);
      }
      for (const [address, child] of node.children) {
        collect(child, [...stack, address]);
      }
    };
    collect(this.root, []);
    fs.writeFileSync(`${this.path}.new`, JSON.stringify({ cycles: cycles - this.began, samples }));
    fs.renameSync(`${this.path}.new`, this.path);
  }

  get node() {
    return this.stack.length > 0 ? this.stack.at(-1)[1] : this.root;
  }

  /** The block at `pc` is about to run; `lr` is the link register, `end` the address behind the block. */
  enter(pc, lr, end) {
    const { stack } = this;
    for (let n = stack.length - 1; n >= 0; n--) {
      if ((stack[n][0] & ~1) === pc) {
        stack.length = n;
        break;
      }
    }
    if ((lr & ~1) === this.end && pc !== this.end) {
      this.push(this.end);
    }
    this.end = end;
    this.pc = pc;
  }

  /** The block that was entered took so many cycles. */
  leave(cycles) {
    if (this.pc !== null) {
      const counts = this.node.cycles;
      counts.set(this.pc, (counts.get(this.pc) ?? 0) + cycles);
    }
  }

  /** An exception interrupts the code at `pc`. */
  interrupt(pc) {
    this.push(pc | 1);
    this.end = -1;
  }

  push(address) {
    this.stack.push([address, this.node.child(address)]);
  }
}
