//! The agents a node can host: each child is one kind of executor.
//!
//! `echo` is the smallest; `reader` streams what `text` finds; `upstream` hands turns to an agent elsewhere, `openai` to a
//! model. `breaker` says when one that keeps failing is left alone.

pub mod breaker;
pub mod echo;
pub mod openai;
pub mod reader;
pub mod text;
pub mod upstream;
