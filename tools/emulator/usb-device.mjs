// The USB controller's device side, in place of rp2040js's: a packet's buffer is handed back when the host took the packet,
// not when it was offered; of a double buffer the first half goes first; the start of frame is signalled.
//
// The host (usb-host.mjs) is `onOut(endpoint, size)`: the device waits for data; `accepts(endpoint)` and
// `onIn(endpoint, bytes)`: the device has a packet; `onStall()`: endpoint 0 refused; `onEnabled()`, `onReset()`.
const BUFFER_CONTROL = 0x80, BUFFER_CONTROL_END = 0x100;
const AVAILABLE = 1 << 10, STALL = 1 << 11, FULL = 1 << 15, LENGTH = 0x3ff, SECOND = 16;
const DOUBLE_BUFFER = 1 << 30;
const SOF_RD = 0x48, EP_ABORT = 0x60, INTE = 0x90, INTR_DEV_SUSPEND = 1 << 14, INTR_DEV_SOF = 1 << 17;
const PACKET_NANOS = 50_000; // 64 bytes and their framing at 12 Mbit/s
const FRAME_NANOS = 1_000_000;

export class UsbDevice {
  #waiting = new Map(); // IN endpoint → offered packets
  #alarms = new Map(); // IN endpoint → when the first of them has crossed the wire
  connected = false;

  constructor(mcu, host) {
    this.mcu = mcu;
    this.host = host;
    this.usb = mcu.usbCtrl;
    this.frame = mcu.clock.createAlarm(() => this.#startOfFrame());
    const read = this.usb.readUint32.bind(this.usb), write = this.usb.writeUint32.bind(this.usb);
    this.usb.DPRAMUpdated = (offset, value) => this.#controlWritten(offset, value);
    this.usb.onUSBEnabled = () => host.onEnabled();
    this.usb.onResetReceived = () => host.onReset();
    this.usb.readUint32 = (offset) => {
      if (offset === SOF_RD) {
        this.#raise(INTR_DEV_SOF, false);
      }
      return read(offset);
    };
    this.usb.writeUint32 = (offset, value) => {
      write(offset, value);
      if (offset === INTE) {
        this.#scheduleFrame();
      } else if (offset === EP_ABORT) {
        this.#abort(value);
      }
    };
  }

  /** Resets the bus: 10 ms later the device sees it and `onReset` follows. */
  reset() {
    this.#waiting.clear();
    this.connected = true;
    this.usb.resetDevice();
    this.#scheduleFrame();
  }

  /** Silence on the bus, which is all that an unplugged device with power of its own notices. */
  disconnect() {
    this.connected = false;
    this.#waiting.clear();
    this.#raise(INTR_DEV_SUSPEND, true);
  }

  setup(packet) {
    this.usb.sendSetupPacket(packet);
  }

  /** Gives the device the data that `onOut` asked for. */
  finishOut(endpoint, bytes) {
    this.usb.endpointReadDone(endpoint, bytes);
  }

  /** The host has room again: takes the packets that it had refused. */
  resume(endpoint) {
    if (this.#waiting.get(endpoint)?.length) {
      this.#take(endpoint);
    }
  }

  #control(endpoint, out) {
    return BUFFER_CONTROL + 8 * endpoint + (out ? 4 : 0);
  }

  #controlWritten(offset, value) {
    if (offset < BUFFER_CONTROL || offset >= BUFFER_CONTROL_END) {
      return;
    }
    const endpoint = (offset - BUFFER_CONTROL) >> 3, out = (offset & 4) !== 0;
    if (!(value & AVAILABLE)) {
      if (!out) {
        this.#waiting.delete(endpoint);
      }
      if (value & STALL && endpoint === 0) {
        this.host.onStall();
      }
      return;
    }
    if (out) {
      this.#update(offset, (control) => control & ~AVAILABLE);
      this.host.onOut(endpoint, value & LENGTH);
      return;
    }
    const start = this.usb.getEndpointBufferOffset(endpoint, false);
    const double = endpoint !== 0 && (this.usb.readEndpointControlReg(endpoint, false) & DOUBLE_BUFFER) !== 0;
    const packet = (half, at) => ({ half, bytes: this.mcu.usbDPRAM.slice(at, at + (value >>> half & LENGTH)) });
    const packets = [packet(0, start)];
    if (double && value >>> SECOND & AVAILABLE) {
      packets.push(packet(SECOND, start + 64));
    }
    this.#waiting.set(endpoint, packets);
    this.#crossWire(endpoint);
  }

  #update(offset, change) {
    const view = this.mcu.usbDPRAMView;
    view.setUint32(offset, change(view.getUint32(offset, true)) >>> 0, true);
  }

  #crossWire(endpoint) {
    if (!this.#alarms.has(endpoint)) {
      this.#alarms.set(endpoint, this.mcu.clock.createAlarm(() => this.#take(endpoint)));
    }
    this.#alarms.get(endpoint).schedule(PACKET_NANOS);
  }

  #take(endpoint) {
    const packets = this.#waiting.get(endpoint);
    if (!packets?.length || !this.connected || !this.host.accepts(endpoint)) {
      return;
    }
    const { half, bytes } = packets.shift();
    this.#update(this.#control(endpoint, false), (control) => control & ~((AVAILABLE | FULL) << half));
    if (packets.length) {
      this.#crossWire(endpoint);
    } else {
      this.usb.indicateBufferReady(endpoint, false);
    }
    this.host.onIn(endpoint, bytes);
  }

  #abort(mask) {
    for (const endpoint of this.#waiting.keys()) {
      if (mask >> 2 * endpoint & 1) {
        this.#waiting.delete(endpoint);
      }
    }
  }

  #raise(bit, on) {
    this.usb.intRaw = on ? this.usb.intRaw | bit : this.usb.intRaw & ~bit;
    this.usb.checkInterrupts();
  }

  /** Frames are only generated while the firmware wants to know of them: each would wake the processor. */
  #scheduleFrame() {
    if (this.connected && this.usb.intEnable & INTR_DEV_SOF && !this.frame.scheduled) {
      this.frame.schedule(FRAME_NANOS - this.mcu.clock.nanos % FRAME_NANOS);
    }
  }

  #startOfFrame() {
    this.frame.cancel();
    if (this.connected) {
      this.usb.sofFrameNumber = Math.floor(this.mcu.clock.nanos / FRAME_NANOS) & 0x7ff;
      this.#raise(INTR_DEV_SOF, true);
      this.#scheduleFrame();
    }
  }
}
