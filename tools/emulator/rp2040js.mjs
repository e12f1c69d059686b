// The parts of rp2040js that the emulator uses. The package's folder comes from RP2040JS_DIR (host.parts finds it),
// so no node_modules folder is needed in the checkout.
import { pathToFileURL } from 'node:url';

const folder = process.env.RP2040JS_DIR;
if (!folder) {
  throw new Error('RP2040JS_DIR must name the folder of the npm package rp2040js');
}
const load = (path) => import(pathToFileURL(`${folder}/dist/esm/${path}`).href);

export const { RP2040 } = await load('rp2040.js');
export const { BasePeripheral } = await load('peripherals/peripheral.js');
export const { SimulationClock } = await load('clock/simulation-clock.js');
