// A USB host with a CDC driver: enumerates the device, sets line coding and control lines as a program opens and closes
// the port, and moves bytes. It takes no more from the device than its user has room for, so the device feels back pressure.
import { UsbDevice } from './usb-device.mjs';

const GET_DESCRIPTOR = 6, SET_ADDRESS = 5, SET_CONFIGURATION = 9, SET_LINE_CODING = 0x20, SET_CONTROL_LINE_STATE = 0x22;
const DEVICE = 1, CONFIGURATION = 2, STRING = 3, INTERFACE = 4, ENDPOINT = 5;
const TO_DEVICE = 0x00, FROM_DEVICE = 0x80, CLASS_TO_INTERFACE = 0x21;
const CDC_CONTROL_CLASS = 2, CDC_DATA_CLASS = 10, BULK = 2, ENGLISH = 0x0409;
const PACKET = 64;
const TURNAROUND_NANOS = 50_000; // between two control requests
const ANSWER_NANOS = 200_000_000; // a request not answered by then has failed
const CLOSE_NANOS = 100_000_000; // how long a closing port waits for the device to read what is left

const u16 = (value) => [value & 255, value >> 8];
const u32 = (value) => [...u16(value & 0xffff), ...u16(value >>> 16)];

/** The interfaces and bulk endpoints of the first CDC function in a configuration descriptor. */
function findCdc(descriptor) {
  const found = { control: 0, in: -1, out: -1 };
  let inData = false;
  for (let at = 0; at + 1 < descriptor.length && descriptor[at] >= 2; at += descriptor[at]) {
    const d = descriptor.subarray(at, at + descriptor[at]);
    if (d[1] === INTERFACE) {
      inData = d[5] === CDC_DATA_CLASS && found.in < 0;
      if (d[5] === CDC_CONTROL_CLASS && found.in < 0) {
        found.control = d[2];
      }
    } else if (d[1] === ENDPOINT && inData && (d[3] & 3) === BULK) {
      found[d[2] & 0x80 ? 'in' : 'out'] = d[2] & 15;
    }
  }
  return found;
}

export class UsbHost {
  #request = null; // the control request in progress
  #script = null; // generator whose requests are run one after another
  #queue = []; // bytes for the device and line changes, in order
  #armed = null; // what the device's OUT endpoint waits for: {size}
  #cdc = null;

  /** `user` is told `onConnected({vid, pid, serial})`, `onData(bytes)` and `onTaken(count)`, and is asked `hasRoom()`. */
  constructor(mcu, user) {
    this.user = user;
    this.attached = true;
    this.enabled = false;
    this.next = mcu.clock.createAlarm(() => this.#step());
    this.timeout = mcu.clock.createAlarm(() => this.#finish(null));
    this.closing = mcu.clock.createAlarm(() => this.#dropUnread());
    this.device = new UsbDevice(mcu, this);
  }

  // ---- for the program behind the port ----

  send(bytes) {
    this.#queue.push(bytes);
    this.#pump();
  }

  /** A program opened (`dtr`) or closed the port, whose speed is `baud`. */
  setLine(baud, dtr) {
    this.#queue.push({ baud, dtr });
    this.#pump();
  }

  /** There is room for data again. */
  resume() {
    if (this.#cdc) {
      this.device.resume(this.#cdc.in);
    }
  }

  unplug() {
    this.attached = false;
    this.#forget();
    this.device.disconnect();
  }

  plug() {
    this.attached = true;
    if (this.enabled) {
      this.device.reset();
    }
  }

  // ---- from the device ----

  onEnabled() {
    this.enabled = true;
    if (this.attached) {
      this.device.reset();
    }
  }

  onReset() {
    this.#forget();
    this.#run(this.#enumerate());
  }

  accepts(endpoint) {
    return endpoint !== this.#cdc?.in || this.user.hasRoom();
  }

  onIn(endpoint, bytes) {
    if (endpoint === 0) {
      this.#controlIn(bytes);
    } else if (endpoint === this.#cdc?.in && bytes.length) {
      this.user.onData(bytes);
    }
  }

  onOut(endpoint, size) {
    if (endpoint === 0) {
      this.#controlOut();
    } else if (endpoint === this.#cdc?.out) {
      this.#armed = { size };
      this.#pump();
    }
  }

  onStall() {
    this.#finish(null);
  }

  // ---- control requests ----

  *#enumerate() {
    yield this.#out(TO_DEVICE, SET_ADDRESS, 1, 0);
    const device = yield this.#in(DEVICE << 8, 0, 18);
    const head = yield this.#in(CONFIGURATION << 8, 0, 9);
    if (!device || !head) {
      return;
    }
    const configuration = yield this.#in(CONFIGURATION << 8, 0, head[2] | head[3] << 8);
    const serial = device[16] ? yield this.#in(STRING << 8 | device[16], ENGLISH, 255) : null;
    this.#cdc = findCdc(Buffer.from(configuration ?? []));
    yield this.#out(TO_DEVICE, SET_CONFIGURATION, 1, 0);
    this.user.onConnected({
      vid: device[8] | device[9] << 8,
      pid: device[10] | device[11] << 8,
      serial: serial ? Buffer.from(serial).subarray(2).toString('utf16le') : '',
    });
  }

  *#changeLine({ baud, dtr }) {
    const { control } = this.#cdc;
    yield this.#out(CLASS_TO_INTERFACE, SET_LINE_CODING, 0, control, [...u32(baud), 0, 0, 8]);
    yield this.#out(CLASS_TO_INTERFACE, SET_CONTROL_LINE_STATE, dtr ? 3 : 0, control);
  }

  #out(type, request, value, index, data = []) {
    return { setup: [type, request, ...u16(value), ...u16(index), ...u16(data.length)], data, fromDevice: false };
  }

  #in(value, index, length) {
    const setup = [FROM_DEVICE, GET_DESCRIPTOR, ...u16(value), ...u16(index), ...u16(length)];
    return { setup, data: [], length, fromDevice: true };
  }

  #run(script) {
    this.#script = script;
    this.answer = undefined;
    this.next.schedule(TURNAROUND_NANOS);
  }

  #step() {
    this.next.cancel();
    const { value, done } = this.#script.next(this.answer);
    if (done) {
      this.#script = null;
      this.#pump();
      return;
    }
    this.#request = value;
    this.timeout.schedule(ANSWER_NANOS);
    this.device.setup(Uint8Array.from(value.setup));
  }

  /** The request ended with these bytes, or with null for a failure. */
  #finish(answer) {
    this.timeout.cancel();
    if (this.#request) {
      this.#request = null;
      this.answer = answer;
      this.next.schedule(TURNAROUND_NANOS);
    }
  }

  #controlIn(bytes) {
    const request = this.#request;
    if (request?.fromDevice) {
      request.data.push(...bytes);
      request.complete = bytes.length < PACKET || request.data.length >= request.length;
      if (request.complete && request.statusArmed) {
        this.#status();
      }
    } else if (request) {
      this.#finish([]);
    }
  }

  /** The device's endpoint 0 waits for the request's data, or for the empty packet that ends a request from the device. */
  #controlOut() {
    const request = this.#request;
    if (!request?.fromDevice) {
      this.device.finishOut(0, Uint8Array.from(request?.data ?? []));
    } else if (request.complete) {
      this.#status();
    } else {
      request.statusArmed = true;
    }
  }

  #status() {
    this.device.finishOut(0, new Uint8Array(0));
    this.#finish(this.#request.data);
  }

  // ---- data ----

  #forget() {
    this.#request = this.#script = this.#armed = this.#cdc = null;
    this.next.cancel();
    this.timeout.cancel();
    this.#dropUnread();
  }

  #dropUnread() {
    this.closing.cancel();
    const bytes = this.#queue.filter((item) => item.length !== undefined);
    this.#queue = this.#queue.filter((item) => item.length === undefined);
    this.user.onTaken(bytes.reduce((sum, item) => sum + item.length, 0));
    this.#pump();
  }

  /** Moves the queue on: bytes when the device waits for them, a line change when it has had all bytes before it. */
  #pump() {
    if (!this.#cdc || this.#script || !this.#queue.length) {
      return;
    }
    const first = this.#queue[0];
    if (first.length === undefined) {
      this.closing.cancel();
      this.#run(this.#changeLine(this.#queue.shift()));
      return;
    }
    if (this.#armed) {
      this.#sendPacket(first);
    } else if (!this.closing.scheduled && this.#queue.some((item) => item.dtr === false)) {
      this.closing.schedule(CLOSE_NANOS);
    }
  }

  #sendPacket(first) {
    const packet = first.subarray(0, this.#armed.size);
    this.#armed = null;
    if (packet.length === first.length) {
      this.#queue.shift();
    } else {
      this.#queue[0] = first.subarray(packet.length);
    }
    this.device.finishOut(this.#cdc.out, packet);
    this.user.onTaken(packet.length);
  }
}
