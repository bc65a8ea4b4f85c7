import { dlopen, FFIType, read as memory } from 'bun:ffi'

/**
 * Every function of libc that we call, opened once: each further dlopen would cost the plugin path 0.05 ms.
 * What a call returns is negative when it failed; `lastErrno` then says why.
 */
export const { symbols: libc } = dlopen('libc.so.6', {
  __errno_location: { args: [], returns: 'ptr' },
  read: { args: ['i32', 'buffer', 'buffer_length'], returns: FFIType.i64_fast },
  write: { args: ['i32', 'buffer', 'buffer_length'], returns: FFIType.i64_fast },
  open: { args: ['cstring', 'i32', 'u32'], returns: 'i32' },
  close: { args: ['i32'], returns: 'i32' },
  pread: { args: ['i32', 'buffer', 'buffer_length', FFIType.i64_fast], returns: FFIType.i64_fast },
  pwrite: { args: ['i32', 'buffer', 'buffer_length', FFIType.i64_fast], returns: FFIType.i64_fast },
  statx: { args: ['i32', 'cstring', 'i32', 'u32', 'buffer'], returns: 'i32' },
  linkat: { args: ['i32', 'cstring', 'i32', 'cstring', 'i32'], returns: 'i32' },
  rename: { args: ['cstring', 'cstring'], returns: 'i32' },
  unlink: { args: ['cstring'], returns: 'i32' },
  rmdir: { args: ['cstring'], returns: 'i32' },
  mkdir: { args: ['cstring', 'u32'], returns: 'i32' },
  fchmod: { args: ['i32', 'u32'], returns: 'i32' },
  getdents64: { args: ['i32', 'buffer', 'buffer_length'], returns: FFIType.i64_fast },
  flock: { args: ['i32', 'i32'], returns: 'i32' },
  usleep: { args: ['u32'], returns: 'i32' },
  geteuid: { args: [], returns: 'u32' },
  ioctl: { args: ['i32', 'u64', 'u64'], returns: 'i32' },
  setns: { args: ['i32', 'i32'], returns: 'i32' },
  socket: { args: ['i32', 'i32', 'i32'], returns: 'i32' },
  setsockopt: { args: ['i32', 'i32', 'i32', 'buffer', 'u32'], returns: 'i32' },
  send: { args: ['i32', 'buffer', 'buffer_length', 'i32'], returns: FFIType.i64_fast },
  recv: { args: ['i32', 'buffer', 'buffer_length', 'i32'], returns: FFIType.i64_fast },
  _exit: { args: ['i32'], returns: 'void' },
})

const errnoAt = libc.__errno_location()

/** The errno of the call before. Ask straight after it, before anything else of ours can run. */
export function lastErrno(): number {
  return errnoAt ? memory.i32(errnoAt, 0) : 0
}
