//! What the tests of several parts share: `services` (real servers to test against), `authority` (certificates),
//! `collector` (of traces) and `mesh` (nodes, the agents they call, and who calls them).

pub mod authority;
pub mod collector;
pub mod mesh;
pub mod services;
