/**
 * Variables by which whoever calls a compiled program can make it run other code first (BUN_OPTIONS=--preload), be the
 * bun command line, or wait for a debugger. The runtime has no option against them.
 */
const SWITCHES = ['BUN_OPTIONS', 'BUN_BE_BUN', 'BUN_INSPECT', 'BUN_INSPECT_CONNECT_TO', 'BUN_INSPECT_PRELOAD']

/** Takes the names of these variables out of an executable, in place. Throws an Error if it does not know one of them. */
export function removeSwitches(executable: Uint8Array): Uint8Array {
  const { buffer, byteOffset, length } = executable
  for (const name of SWITCHES) removeName(Buffer.from(buffer, byteOffset, length), name)
  return executable
}

/** Makes every C string that is this name an empty one: no variable is called that. */
function removeName(executable: Buffer, name: string): void {
  const whole = Buffer.from(`\0${name}\0`)
  let found = 0
  for (let at = executable.indexOf(whole); at >= 0; at = executable.indexOf(whole, at)) {
    executable[at + 1] = 0
    found++
  }
  if (found === 0) throw new Error(`the runtime has no name ${name}: see how it reads its environment now`)
}
