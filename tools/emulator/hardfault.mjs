// Thrown by an access or an instruction that ARMv6-M answers with a HardFault exception.
export class HardFault extends Error {}
