//! The agents a node can host: each child is one kind of executor.
//!
//! `echo` is the smallest; `reader` streams what `text` finds; `upstream` hands turns to an agent elsewhere, `openai` to a
//! model. `run` says whether one is to be called now, with `breaker` for those that keep failing.

pub mod breaker;
pub mod echo;
pub mod openai;
pub mod passthrough;
pub mod reader;
pub mod run;
pub mod text;
pub mod upstream;
