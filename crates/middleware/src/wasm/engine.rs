//! The engine: how modules are compiled, and the clock that tells guests to give their thread back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine, OptLevel, WasmBacktraceDetails};

/// How often a guest that runs is asked to give its thread back.
pub(super) const TICK: Duration = Duration::from_millis(5);
/// After so many ticks without a guest that runs the clock stands still: an idle sidecar does not wake up.
const PATIENCE: u32 = 20;
/// The stack of a guest, in bytes, and that of the calls it makes, which begin on it.
const STACK: usize = 512 << 10;

/// The engine of the process with its clock: all guests share them.
pub(super) struct Runtime {
    pub(super) engine: Engine,
    clock: Arc<Clock>,
}

#[derive(Debug, Default)]
struct Clock {
    running: AtomicUsize,
    is_still: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// A guest that runs; the clock goes as long as there is one.
pub(super) struct Running(&'static Runtime);

/// The engine, which is made when the first component asks for it.
pub(super) fn runtime() -> Result<&'static Runtime, String> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(Runtime::new);
    runtime.as_ref().map_err(Clone::clone)
}

impl Runtime {
    fn new() -> Result<Self, String> {
        let engine = Engine::new(&config()).map_err(|error| format!("{error:#}"))?;
        let clock = Arc::new(Clock::default());
        let (of_thread, ticked) = (Arc::clone(&clock), engine.clone());
        thread::Builder::new()
            .name("wasm-clock".to_owned())
            .spawn(move || of_thread.run(&ticked))
            .map_err(|error| error.to_string())?;
        Ok(Self { engine, clock })
    }

    pub(super) fn run(&'static self) -> Running {
        self.clock.begin();
        Running(self)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.clock.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Clock {
    fn begin(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.is_still.load(Ordering::SeqCst) {
            // With the lock: the clock is either waiting already or has not looked at `running` yet.
            let _locked = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_one();
        }
    }

    fn run(&self, engine: &Engine) {
        let mut idle = 0;
        loop {
            thread::sleep(TICK);
            engine.increment_epoch();
            if self.running.load(Ordering::SeqCst) > 0 {
                idle = 0;
            } else if idle < PATIENCE {
                idle += 1;
            } else {
                self.stand_still();
                idle = 0;
            }
        }
    }

    fn stand_still(&self) {
        let locked = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_still.store(true, Ordering::SeqCst);
        let nobody = |(): &mut ()| self.running.load(Ordering::SeqCst) == 0;
        let woken = self.wake.wait_while(locked, nobody);
        self.is_still.store(false, Ordering::SeqCst);
        drop(woken);
    }
}

/// What Dapr's engine takes is WebAssembly 2.0; what came later is refused.
fn config() -> Config {
    let mut config = Config::new();
    config
        .async_support(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(STACK)
        .async_stack_size(2 * STACK)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false);
    config
}
