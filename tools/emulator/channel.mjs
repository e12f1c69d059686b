// Frames on standard input and output, one ordered stream each way: a kind, the payload's length (u32, little-endian), the
// payload. Kinds: D the serial port's bytes; A bytes that were taken (u32), which gives the sender room for as many;
// J a JSON object, a command inwards and an event outwards.
import fs from 'node:fs';

const HEADER = 5;
const WINDOW = 16384; // bytes on their way that the other side has not taken

export class Channel {
  #pending = Buffer.alloc(0);
  #untaken = 0;
  #taken = 0;
  #outgoing = [];

  constructor({ onData, onCommand, onRoom, onEnd }) {
    this.handlers = { D: onData, J: (payload) => onCommand(JSON.parse(payload.toString())), A: (payload) => {
      this.#untaken -= payload.readUInt32LE(0);
      onRoom();
    } };
    process.stdin.on('data', (chunk) => this.#receive(chunk));
    process.stdin.on('end', onEnd);
  }

  hasRoom() {
    return this.#untaken < WINDOW;
  }

  /** Bytes from the serial port; they leave with the next `flush` or event. */
  data(bytes) {
    this.#untaken += bytes.length;
    this.#outgoing.push(bytes);
  }

  flush() {
    if (this.#taken) {
      const payload = Buffer.alloc(4);
      payload.writeUInt32LE(this.#taken);
      this.#taken = 0;
      this.#send('A', payload);
    }
    if (this.#outgoing.length) {
      const bytes = Buffer.concat(this.#outgoing);
      this.#outgoing = [];
      this.#send('D', bytes);
    }
  }

  /** Bytes for the serial port went to the board; the acknowledgement leaves with the next `flush` or event. */
  taken(count) {
    this.#taken += count;
  }

  event(event) {
    this.flush();
    this.#send('J', Buffer.from(JSON.stringify(event)));
  }

  #send(kind, payload) {
    const frame = Buffer.alloc(HEADER + payload.length);
    frame.write(kind, 0, 'latin1');
    frame.writeUInt32LE(payload.length, 1);
    frame.set(payload, HEADER);
    for (let done = 0; done < frame.length;) {
      try {
        done += fs.writeSync(1, frame, done);
      } catch (error) {
        if (error.code === 'EPIPE') {
          process.exit(0); // nobody is left to hear it
        }
        if (error.code !== 'EAGAIN') {
          throw error;
        }
      }
    }
  }

  #receive(chunk) {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= HEADER) {
      const end = HEADER + this.#pending.readUInt32LE(1);
      if (this.#pending.length < end) {
        return;
      }
      const kind = this.#pending.toString('latin1', 0, 1), payload = this.#pending.subarray(HEADER, end);
      this.#pending = this.#pending.subarray(end);
      this.handlers[kind](payload);
    }
  }
}
