//! The agents a node can host: each child is one kind of executor.
//!
//! `echo` is the smallest; `reader` streams what `text` finds; `upstream` hands turns to an agent elsewhere.

pub mod echo;
pub mod reader;
pub mod text;
pub mod upstream;
