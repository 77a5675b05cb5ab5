//! Version 0.3 read as 1.0: what is let in can be written in both versions, and means the same when it is read again.

#![no_main]

use archipel_fuzz::{Meaning, json, written};
use archipel_protocol::a2a::{AgentCard, SendMessageParams, StreamEvent, TaskList, Version, v03};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(raw) = json(input) else { return };
    // The members under which our own writers put things aside: from outside they are not promised a way back.
    let is_ours = Meaning::read(raw).names(&["v03", "v10"]);
    if let Ok(event) = v03::read_event(raw) {
        let v10 = written(&event);
        let stored = StreamEvent::read(v10.get()).expect("what we write in 1.0 can be read");
        assert_eq!(Meaning::of(&stored), Meaning::read(&v10));
        let v03 = written(&v03::event(&stored));
        let back = v03::read_event(&v03).expect("what we write in 0.3 can be read");
        if !is_ours {
            assert_eq!(Meaning::of(&back), Meaning::read(&v10), "by way of {v03}");
        }
    }
    if let Ok(params) = SendMessageParams::parse(Version::V03, raw) {
        let v10 = written(&params);
        let mut same = SendMessageParams::parse(Version::V1, &v10).expect("can be sent on in 1.0");
        assert_eq!(Meaning::of(&same), Meaning::read(&v10));
        if let Some(config) = &mut same.push_notification_config {
            config.version = Version::V03;
        }
        let v03 = written(&v03::send_params(&params));
        let back = SendMessageParams::parse(Version::V03, &v03).expect("can be sent on in 0.3");
        if !is_ours {
            assert_eq!(Meaning::of(&back), Meaning::read(&v10), "by way of {v03}");
        }
    }
    if let Ok(card) = v03::read_card(raw.get()) {
        let card = AgentCard::read(written(&card).get()).expect("the card can be read as 1.0");
        let v03 = written(&v03::card(&card, "https://node.example/agents/a"));
        v03::read_card(v03.get()).expect("the card can be read as 0.3");
    }
    if let Ok(list) = TaskList::read(raw.get()) {
        written(&v03::task_list(&list));
    }
});
