//! The functions of the module `wasi_snapshot_preview1`: what a program finds where it runs. There are no arguments, no
//! variables, no files and no sockets; it prints to the log, it may know the time and have random numbers.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};
use wasmtime::{Caller, FuncType, Linker, Result, Val, ValType};

use super::limits::PRINTED;
use super::memory::{put_bytes, range, u32_at, u64_at, view};
use super::state::{Halt, State};

/// The name of the module.
pub(super) const MODULE: &str = "wasi_snapshot_preview1";

const SUCCESS: u32 = 0;
const BAD_FD: u32 = 8;
const FAULT: u32 = 21;
const INVALID: u32 = 28;
const IO: u32 = 29;
const NOT_SUPPORTED: u32 = 58;

/// A millisecond, by which the clocks of a strict sandbox go on when they are read.
const STEP: i64 = 1_000_000;
/// What a program waits for at once, at most.
const SUBSCRIPTIONS: u32 = 1024;

/// Functions that only answer a number: there is no such file. `i` is a parameter of 32 bits, `I` one of 64.
const ABSENT: [(&str, &str); 31] = [
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_datasync", "i"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_seek", "iIii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
    ("fd_close", "i"),
];

const PRESENT: [&str; 14] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_read",
    "fd_write",
    "poll_oneoff",
    "proc_exit",
    "random_get",
    "sched_yield",
];

/// Whether a program may import it.
pub(super) fn is_known(name: &str) -> bool {
    PRESENT.contains(&name) || name == "proc_raise" || ABSENT.iter().any(|(absent, _)| *absent == name)
}

/// What a program leaves behind.
#[derive(Debug)]
pub(super) struct Wasi {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// When the instance began.
    since: Instant,
    /// The monotonic clock of a strict sandbox, in nanoseconds.
    ticks: i64,
    /// The random numbers of a strict sandbox.
    seed: u64,
}

impl Default for Wasi {
    fn default() -> Self {
        Self {
            stdout: Vec::new(),
            stderr: Vec::new(),
            since: Instant::now(),
            ticks: 0,
            seed: 42,
        }
    }
}

impl Wasi {
    /// Tells the log what was printed.
    pub(super) fn tell(&mut self, component: &str) {
        for (name, printed) in [("stdout", &mut self.stdout), ("stderr", &mut self.stderr)] {
            if !printed.is_empty() {
                let text = String::from_utf8_lossy(printed);
                tracing::debug!(target: "dapr.runtime", component, "wasm {name}: {text}");
                printed.clear();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn printed(&self) -> usize {
        self.stdout.len() + self.stderr.len()
    }

    fn print(&mut self, fd: u32, data: &[u8]) -> bool {
        let to = match fd {
            1 => &mut self.stdout,
            2 => &mut self.stderr,
            _ => return false,
        };
        let left = PRINTED.saturating_sub(to.len());
        to.extend_from_slice(&data[..data.len().min(left)]);
        true
    }

    /// The next of the numbers that are always the same (xorshift).
    fn next(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }
}

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    link_absent(linker)?;
    link_environment(linker)?;
    link_files(linker)?;
    linker.func_wrap(
        MODULE,
        "clock_res_get",
        |mut caller: Caller<'_, State>, id: u32, at: u32| {
            let nanos: u64 = match id {
                0 => 1000,
                1 => 1,
                _ => return Ok(INVALID),
            };
            put(&mut caller, at, &nanos.to_le_bytes())
        },
    )?;
    linker.func_wrap(
        MODULE,
        "clock_time_get",
        |mut caller: Caller<'_, State>, id: u32, _precision: u64, at: u32| match now(caller.data_mut(), id) {
            Some(now) => put(&mut caller, at, &now.to_le_bytes()),
            None => Ok(INVALID),
        },
    )?;
    linker.func_wrap(
        MODULE,
        "random_get",
        |mut caller: Caller<'_, State>, at: u32, length: u32| {
            let (memory, state) = view(&mut caller)?;
            let room = range(at, length).and_then(|range| memory.get_mut(range));
            Ok::<u32, wasmtime::Error>(room.map_or(FAULT, |room| random(state, room)))
        },
    )?;
    linker.func_wrap(MODULE, "sched_yield", || SUCCESS)?;
    linker.func_wrap(MODULE, "proc_exit", |code: u32| -> Result<()> {
        Err(Halt::Exit(code).into())
    })?;
    linker.func_wrap_async(
        MODULE,
        "poll_oneoff",
        |caller: Caller<'_, State>, (from, to, count, events): (u32, u32, u32, u32)| {
            Box::new(poll(caller, from, to, count, events))
        },
    )?;
    Ok(())
}

fn link_absent(linker: &mut Linker<State>) -> Result<()> {
    let answer = |linker: &mut Linker<State>, name: &str, params: &str, errno: u32| {
        let params = params.chars().map(|kind| match kind {
            'I' => ValType::I64,
            _ => ValType::I32,
        });
        let signature = FuncType::new(linker.engine(), params, [ValType::I32]);
        let function = linker.func_new(MODULE, name, signature, move |_, _, results| {
            if let Some(result) = results.first_mut() {
                *result = Val::I32(errno.cast_signed());
            }
            Ok(())
        });
        function.map(|_| ())
    };
    for (name, params) in ABSENT {
        answer(linker, name, params, BAD_FD)?;
    }
    answer(linker, "proc_raise", "i", NOT_SUPPORTED)
}

fn link_environment(linker: &mut Linker<State>) -> Result<()> {
    for name in ["args_get", "environ_get"] {
        linker.func_wrap(MODULE, name, |_: u32, _: u32| SUCCESS)?;
    }
    for name in ["args_sizes_get", "environ_sizes_get"] {
        linker.func_wrap(
            MODULE,
            name,
            |mut caller: Caller<'_, State>, count: u32, length: u32| -> Result<u32> {
                let first = put(&mut caller, count, &[0; 4])?;
                let second = put(&mut caller, length, &[0; 4])?;
                Ok(first.max(second))
            },
        )?;
    }
    Ok(())
}

fn link_files(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(
        MODULE,
        "fd_write",
        |mut caller: Caller<'_, State>, fd: u32, from: u32, count: u32, to: u32| -> Result<u32> {
            let (memory, state) = view(&mut caller)?;
            Ok(match write(memory, state, fd, from, count) {
                Ok(written) => put_bytes(memory, to, &written.to_le_bytes()).map_or(FAULT, |()| SUCCESS),
                Err(errno) => errno,
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_read",
        |mut caller: Caller<'_, State>, fd: u32, _: u32, _: u32, to: u32| -> Result<u32> {
            // Nobody says anything.
            if fd == 0 {
                put(&mut caller, to, &[0; 4])
            } else {
                Ok(BAD_FD)
            }
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_fdstat_get",
        |mut caller: Caller<'_, State>, fd: u32, at: u32| -> Result<u32> {
            if fd > 2 {
                return Ok(BAD_FD);
            }
            // A character device that is read or written.
            let mut stat = [0; 24];
            stat[0] = 2;
            stat[8] = if fd == 0 { 1 << 1 } else { 1 << 6 };
            put(&mut caller, at, &stat)
        },
    )?;
    linker.func_wrap(MODULE, "fd_fdstat_set_flags", |fd: u32, _: u32| {
        if fd > 2 { BAD_FD } else { SUCCESS }
    })?;
    Ok(())
}

fn put(caller: &mut Caller<'_, State>, at: u32, bytes: &[u8]) -> Result<u32> {
    let (memory, _) = view(caller)?;
    Ok(put_bytes(memory, at, bytes).map_or(FAULT, |()| SUCCESS))
}

/// Prints what is in so many pieces.
fn write(memory: &[u8], state: &mut State, fd: u32, from: u32, count: u32) -> Result<u32, u32> {
    let pieces = range(from, count.checked_mul(8).ok_or(FAULT)?).and_then(|range| memory.get(range));
    let mut written = 0_u32;
    for piece in pieces.ok_or(FAULT)?.chunks_exact(8) {
        let (at, length) = (u32_at(piece, 0), u32_at(piece, 4));
        let data = at
            .zip(length)
            .and_then(|(at, length)| memory.get(range(at, length)?));
        let data = data.ok_or(FAULT)?;
        if !state.wasi.print(fd, data) {
            return Err(BAD_FD);
        }
        written = written.checked_add(data.len() as u32).ok_or(INVALID)?;
    }
    if fd == 1 || fd == 2 {
        Ok(written)
    } else {
        Err(BAD_FD)
    }
}

/// The time of a clock, in nanoseconds.
fn now(state: &mut State, id: u32) -> Option<i64> {
    let is_strict = state.shared.is_strict;
    Some(match id {
        0 if is_strict => state.shared.wall.fetch_add(STEP, Ordering::Relaxed) + STEP,
        0 => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
        }
        1 if is_strict => {
            let now = state.wasi.ticks;
            state.wasi.ticks += STEP;
            now
        }
        1 => i64::try_from(state.wasi.since.elapsed().as_nanos()).unwrap_or(i64::MAX),
        _ => return None,
    })
}

fn random(state: &mut State, room: &mut [u8]) -> u32 {
    if !state.shared.is_strict {
        return SystemRandom::new().fill(room).map_or(IO, |()| SUCCESS);
    }
    for piece in room.chunks_mut(8) {
        let next = state.wasi.next().to_le_bytes();
        piece.copy_from_slice(&next[..piece.len()]);
    }
    SUCCESS
}

/// What a program waits for.
struct Subscription {
    user: u64,
    kind: u8,
    /// How long, if it waits for a clock.
    wait: Option<u64>,
}

/// Waits for clocks; in a strict sandbox time does not pass. There is nothing else to wait for.
async fn poll(mut caller: Caller<'_, State>, from: u32, to: u32, count: u32, events: u32) -> Result<u32> {
    if count == 0 || count > SUBSCRIPTIONS {
        return Ok(INVALID);
    }
    let (memory, state) = view(&mut caller)?;
    let mut wanted = Vec::new();
    for nth in 0..count {
        let at = from.checked_add(nth * 48);
        let Some(subscription) = at.and_then(|at| subscription(memory, at, state)) else {
            return Ok(FAULT);
        };
        wanted.push(subscription);
    }
    // What cannot be waited for is told at once.
    let shortest = wanted.iter().map(|one| one.wait.unwrap_or(0)).min().unwrap_or(0);
    if shortest > 0 && !state.shared.is_strict {
        let (most, millis) = (state.shared.limits.sleep, shortest.div_ceil(1_000_000));
        state.sleep = state.sleep.checked_sub(millis).ok_or(Halt::Slept(most))?;
        tokio::time::sleep(Duration::from_nanos(shortest)).await;
    }
    let (memory, _) = view(&mut caller)?;
    let mut told = 0_u32;
    for one in wanted.iter().filter(|one| one.wait.unwrap_or(0) <= shortest) {
        let mut event = [0; 32];
        event[..8].copy_from_slice(&one.user.to_le_bytes());
        event[8] = if one.wait.is_none() { BAD_FD as u8 } else { 0 };
        event[10] = one.kind;
        let at = to.checked_add(told * 32);
        if at.and_then(|at| put_bytes(memory, at, &event)).is_none() {
            return Ok(FAULT);
        }
        told += 1;
    }
    Ok(put_bytes(memory, events, &told.to_le_bytes()).map_or(FAULT, |()| SUCCESS))
}

fn subscription(memory: &[u8], at: u32, state: &mut State) -> Option<Subscription> {
    let user = u64_at(memory, at)?;
    let kind = *memory.get(at.checked_add(8)? as usize)?;
    let mut wait = None;
    if kind == 0 {
        let id = u32_at(memory, at.checked_add(16)?)?;
        let timeout = u64_at(memory, at.checked_add(24)?)?;
        let is_absolute = u32_at(memory, at.checked_add(40)?)? & 1 == 1;
        wait = if is_absolute {
            now(state, id).map(|now| timeout.saturating_sub(now.cast_unsigned()))
        } else {
            Some(timeout)
        };
    }
    Some(Subscription { user, kind, wait })
}
