//! A module that is compiled, and an instance of it.

use std::sync::Arc;

use thiserror::Error;
use wasmtime::{
    ExternType, FuncType, InstancePre, Linker, Module, Store, Trap, TypedFunc, UpdateDeadline, ValType,
};

use super::WasmError;
use super::engine::{Runtime, TICK, runtime};
use super::state::{Halt, Shared, State};
use super::{host, wasi};

/// A module with everything that it imports.
pub(super) struct Compiled {
    runtime: &'static Runtime,
    pre: InstancePre<State>,
}

/// An instance. It serves one call at a time.
pub(super) struct Guest {
    runtime: &'static Runtime,
    store: Store<State>,
    handle_request: TypedFunc<(), i64>,
    handle_response: TypedFunc<(u32, u32), ()>,
}

/// Why a guest did not come to its end, as Dapr says it.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct Fault(String);

/// Compiles a module. It must export what the ABI asks for, and import nothing else than the ABI and WASI have.
pub(super) fn compile(module: &[u8]) -> Result<Compiled, WasmError> {
    let runtime = runtime().map_err(WasmError::Engine)?;
    let module = Module::from_binary(&runtime.engine, module)
        .map_err(|error| WasmError::Compile(format!("{error:#}")))?;
    check_exports(&module).map_err(WasmError::Exports)?;
    let mut linker = Linker::new(&runtime.engine);
    let linked = host::link(&mut linker).and_then(|()| wasi::link(&mut linker));
    linked.map_err(|error| WasmError::Engine(format!("{error:#}")))?;
    check_imports(&module)?;
    let pre = linker
        .instantiate_pre(&module)
        .map_err(|error| WasmError::Instantiate(format!("{error:#}")))?;
    Ok(Compiled { runtime, pre })
}

fn check_exports(module: &Module) -> Result<(), String> {
    let is = |name: &str, params: &[ValType], results: &[ValType], signature: &str| {
        let Some(ExternType::Func(func)) = module.get_export(name) else {
            return Err(format!("guest doesn't export func[{name}]"));
        };
        if same(&func, params, results) {
            return Ok(());
        }
        Err(format!(
            "guest exports the wrong signature for func[{name}]. should be {signature}"
        ))
    };
    is("handle_request", &[], &[ValType::I64], "() -> (i64)")?;
    is(
        "handle_response",
        &[ValType::I32, ValType::I32],
        &[],
        "(i32, 32) -> ()",
    )?;
    match module.get_export("memory") {
        Some(ExternType::Memory(_)) => Ok(()),
        _ => Err("guest doesn't export memory[memory]".to_owned()),
    }
}

fn same(func: &FuncType, params: &[ValType], results: &[ValType]) -> bool {
    let equal = |has: &mut dyn ExactSizeIterator<Item = ValType>, wanted: &[ValType]| {
        has.len() == wanted.len() && has.zip(wanted).all(|(has, wanted)| ValType::eq(&has, wanted))
    };
    equal(&mut func.params(), params) && equal(&mut func.results(), results)
}

fn check_imports(module: &Module) -> Result<(), WasmError> {
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let is_known = match from {
            host::MODULE => host::NAMES.contains(&name),
            wasi::MODULE => wasi::is_known(name),
            _ => {
                let text = format!("module[{from}] not instantiated");
                return Err(WasmError::Instantiate(text));
            }
        };
        if !is_known {
            let text = format!("{name:?} is not exported in module {from:?}");
            return Err(WasmError::Instantiate(text));
        }
    }
    Ok(())
}

impl Compiled {
    /// A new instance, which has started; `None` if there are as many as there may be.
    pub(super) async fn instantiate(&self, shared: &Arc<Shared>) -> Option<Result<Guest, Fault>> {
        let state = State::new(shared)?;
        Some(self.start(state).await.map_err(|error| Fault::of(&error)))
    }

    async fn start(&self, state: State) -> wasmtime::Result<Guest> {
        let mut store = Store::new(&self.runtime.engine, state);
        store.limiter(|state| state);
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            let Some(left) = state.slices.checked_sub(1) else {
                let ran = TICK.as_millis() * u128::from(state.shared.limits.slices);
                return Err(Halt::TooLong(ran).into());
            };
            state.slices = left;
            Ok(UpdateDeadline::Yield(2))
        });
        let _running = self.runtime.run();
        refill(&mut store);
        let instance = self.pre.instantiate_async(&mut store).await?;
        if let Ok(start) = instance.get_typed_func::<(), ()>(&mut store, "_start") {
            let started = start.call_async(&mut store, ()).await;
            started.map_err(|error| match error.downcast_ref::<Halt>() {
                // Nothing can be asked of it any more.
                Some(Halt::Exit(_)) => error,
                _ => Fault(format!(
                    "module[1] function[_start] failed: {}",
                    Fault::of(&error)
                ))
                .into(),
            })?;
        }
        Ok(Guest {
            runtime: self.runtime,
            handle_request: instance.get_typed_func(&mut store, "handle_request")?,
            handle_response: instance.get_typed_func(&mut store, "handle_response")?,
            store,
        })
    }
}

impl Guest {
    /// Asks what becomes of the request. The answer is what the guest says: in the lower half whether it goes on, in the
    /// upper what it wants to hear again with the answer.
    pub(super) async fn handle_request(&mut self) -> Result<u64, Fault> {
        let _running = self.runtime.run();
        refill(&mut self.store);
        let asked = self.handle_request.call_async(&mut self.store, ()).await;
        asked.map(i64::cast_unsigned).map_err(|error| Fault::of(&error))
    }

    /// Shows the answer.
    pub(super) async fn handle_response(&mut self, context: u32) -> Result<(), Fault> {
        let _running = self.runtime.run();
        refill(&mut self.store);
        // What fails before there is an answer is an answer, too: nothing is told as an error.
        let shown = self.handle_response.call_async(&mut self.store, (context, 0));
        shown.await.map_err(|error| Fault::of(&error))
    }

    pub(super) fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }
}

/// The time of one run.
fn refill(store: &mut Store<State>) {
    let limits = store.data().shared.limits;
    let state = store.data_mut();
    (state.slices, state.sleep) = (limits.slices, limits.sleep);
    store.set_epoch_deadline(2);
}

impl Fault {
    fn of(error: &wasmtime::Error) -> Self {
        if let Some(halt) = error.downcast_ref::<Halt>() {
            return Self(halt.to_string());
        }
        if let Some(fault) = error.downcast_ref::<Self>() {
            return Self(fault.to_string());
        }
        let words = match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) => "unreachable",
            Some(Trap::StackOverflow) => "stack overflow",
            Some(Trap::MemoryOutOfBounds | Trap::HeapMisaligned) => "out of bounds memory access",
            Some(Trap::TableOutOfBounds | Trap::IndirectCallToNull) => "invalid table access",
            Some(Trap::BadSignature) => "indirect call type mismatch",
            Some(Trap::IntegerOverflow) => "integer overflow",
            Some(Trap::IntegerDivisionByZero) => "integer divide by zero",
            Some(Trap::BadConversionToInteger) => "invalid conversion to integer",
            Some(other) => return Self(format!("wasm error: {other}")),
            None => return Self(error.root_cause().to_string()),
        };
        Self(format!("wasm error: {words}"))
    }
}
