//! The primitives by which tasks share state: those of `std`, or in a model those of `shuttle`, where each operation is a
//! place at which another task may go on. How models are written stands in `CONTRIBUTING.md`.

#[cfg(feature = "model")]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
#[cfg(not(feature = "model"))]
pub(crate) use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
