// The flash chip: 2 MB in a file, written at every erase and program operation, so that whatever ends this process leaves
// what a power cut would leave. An operation is what the chip does at once: one sector erased or one page programmed.
import fs from 'node:fs';
import { FLASH_SIZE } from './memory.mjs';

const SECTOR = 4096, PAGE = 256;

/** The operation that a power cut was ordered for. */
export class PowerCut extends Error {}

/** Bytes of a xorshift generator; the seed is spread first, so that small ones differ too. */
function randomBytes(seed) {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 24;
  };
}

export class Flash {
  operations = 0; // since power-up
  #cut = null;

  constructor(path) {
    this.file = fs.openSync(path, 'r+');
    if (fs.fstatSync(this.file).size !== FLASH_SIZE) {
      throw new Error(`${path} is not an image of ${FLASH_SIZE} bytes`);
    }
    this.bytes = Buffer.alloc(FLASH_SIZE);
    fs.readSync(this.file, this.bytes, 0, FLASH_SIZE, 0);
  }

  /**
   * Cuts the power at the `operation`-th operation from now (1 is the next), leaving it `undone`, `half` done or `done`. Half done
   * is each bit by itself, as in a chip whose cells are on their way all at once; which ones, `seed` decides.
   */
  cutAt(operation, outcome, seed) {
    this.#cut = { operation: this.operations + operation, outcome, seed };
  }

  erase(offset, length) {
    for (let at = offset; at < offset + length; at += SECTOR) {
      this.#operate(at, SECTOR, () => 0xff);
    }
  }

  program(offset, data) {
    for (let at = 0; at < data.length; at += PAGE) {
      this.#operate(offset + at, PAGE, (old, i) => old & data[at + i]);
    }
  }

  #operate(at, length, become) {
    this.operations++;
    const cut = this.#cut?.operation === this.operations ? this.#cut : null;
    const part = this.bytes.subarray(at % FLASH_SIZE, at % FLASH_SIZE + length);
    const reached = { undone: () => 0, half: randomBytes(cut?.seed) }[cut?.outcome] ?? (() => 0xff);
    part.forEach((old, i) => {
      const mask = reached();
      part[i] = old & ~mask | become(old, i) & mask;
    });
    fs.writeSync(this.file, part, 0, length, at % FLASH_SIZE);
    if (cut) {
      throw new PowerCut(`at flash operation ${this.operations}`);
    }
  }
}
