//! Version 1.0 written as 0.3: nothing is lost on the way there and back.

#![no_main]

use archipel_fuzz::{Meaning, json, written};
use archipel_protocol::a2a::{StreamEvent, v03};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(raw) = json(input) else { return };
    let Ok(event) = StreamEvent::parse(raw) else {
        return;
    };
    let v10 = written(&event);
    let again = StreamEvent::parse(&v10).expect("what we write can be read");
    assert_eq!(Meaning::of(&again), Meaning::read(&v10));
    let v03 = written(&v03::event(&event));
    let back = v03::read_event(&v03).expect("what we write in 0.3 can be read");
    // What is put aside, and data that is marked as wrapped, mean what the mark says.
    if !Meaning::read(raw).names(&["v03", "v10", "data_part_compat"]) {
        assert_eq!(Meaning::of(&back), Meaning::read(&v10), "by way of {v03}");
    }
});
