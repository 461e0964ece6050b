/**
 * Acts that must be refused to a guest. Each is a program that prints REFUSED and why, or ALLOWED; a control is an act
 * that must be allowed, so that nothing is held only because the programs do not work at all.
 */
import type { Language } from "../protocol/languages.ts";

export type Probe = {
  title: string;
  /** Python, when it is not given. */
  language?: Language;
  code: string;
  /** What it prints when it is held; of a control, when it works. */
  expected: RegExp;
};

export type ProbeGroup = { name: string; probes: readonly Probe[] };

export const PRELUDE = `
import ctypes, errno, os, socket, struct, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def syscall(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[a if isinstance(a, bytes) else ctypes.c_long(a) for a in args])
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
def none():
    raise FileNotFoundError(errno.ENOENT, "there is none")
def attempt(act):
    try:
        value = act()
        print("ALLOWED", value)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print("REFUSED", errno.errorcode.get(getattr(error, "errno", None), type(error).__name__))
`;

/** A program that tries an expression of Python. */
export const attempt = (expression: string, setUp = "") =>
  `${PRELUDE}\n${setUp}\nattempt(lambda: ${expression})`;

export const probe = (title: string, expression: string, expected: RegExp, setUp = ""): Probe => ({
  title,
  code: attempt(expression, setUp),
  expected,
});

/** `arm64`: what it is on the other kind of machine that the server knows. */
export const byMachine = <T>(x64: T, arm64: T): T => (process.arch === "arm64" ? arm64 : x64);
