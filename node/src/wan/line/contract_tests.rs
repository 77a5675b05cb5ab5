//! What every line does.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use super::in_process::InProcessLine;
use super::jetstream::tests::fresh_line;
use super::*;

/// Short enough to be waited for.
pub(super) const RULES: LineRules = LineRules {
    settle_within: Duration::from_millis(400),
    attempts: 3,
};

/// Long enough never to be waited for.
pub(super) const PATIENT: LineRules = LineRules {
    settle_within: Duration::from_secs(60),
    attempts: 3,
};

macro_rules! contract {
    ($($case:ident under $rules:ident),+ $(,)?) => {
        mod in_process {
            $(#[tokio::test] async fn $case() {
                super::$case(&super::InProcessLine::new(super::$rules)).await;
            })+
        }
        mod jetstream {
            $(#[tokio::test] async fn $case() {
                super::$case(&super::fresh_line(super::$rules).await.line).await;
            })+
        }
    };
}

contract!(
    letters_come_in_order_and_once under PATIENT,
    a_message_id_is_kept_once under PATIENT,
    what_is_not_settled_comes_again under RULES,
    who_works_on_is_not_disturbed under RULES,
    later_is_later_and_the_last_time_is_death under RULES,
    a_dead_letter_is_whole under PATIENT,
    dead_letters_are_listed_in_pages under PATIENT,
    a_dead_letter_goes_again_or_is_dropped under PATIENT,
    what_kills_its_taker_dies under RULES,
);

pub(super) fn letter(number: usize) -> Letter {
    Letter {
        message_id: format!("id-{number}"),
        body: Bytes::from(format!("{{\"n\":{number}}}")),
        headers: vec![("Archipel-Test".to_owned(), format!("value {number}"))],
    }
}

pub(super) async fn publish(line: &dyn WanLine, numbers: std::ops::Range<usize>) {
    let letters: Vec<Letter> = numbers.map(letter).collect();
    let count = letters.len();
    assert_eq!(line.publish(letters).await, vec![Ok(()); count]);
}

/// Pulls until so many have come.
pub(super) async fn take(line: &dyn WanLine, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let pulled = line.pull(count - taken.len()).await.unwrap();
        assert!(!pulled.is_empty(), "{} of {count} came", taken.len());
        taken.extend(pulled);
    }
    taken
}

/// What a letter of this number becomes.
fn assert_is(delivery: &Delivery, number: usize) {
    let letter = letter(number);
    assert_eq!(delivery.body, letter.body);
    let kept = |header: &(String, String)| delivery.headers.contains(header);
    assert!(letter.headers.iter().all(kept), "{:?}", delivery.headers);
}

pub(super) async fn settle(line: &dyn WanLine, delivery: &Delivery, verdict: Verdict) {
    assert_eq!(line.settle(delivery, verdict).await, Ok(()));
}

async fn letters_come_in_order_and_once(line: &dyn WanLine) {
    publish(line, 0..50).await;
    let taken = take(line, 50).await;
    for (number, delivery) in taken.iter().enumerate() {
        assert_is(delivery, number);
        assert_eq!(delivery.attempt, 1);
        settle(line, delivery, Verdict::Done).await;
    }
    assert!(taken.is_sorted_by(|one, next| one.sequence < next.sequence));
    publish(line, 50..51).await;
    assert_is(&take(line, 1).await.remove(0), 50);
}

async fn a_message_id_is_kept_once(line: &dyn WanLine) {
    let [first, second] = [1, 2].map(letter);
    let again = Letter {
        message_id: first.message_id.clone(),
        ..letter(3)
    };
    let told = line
        .publish(vec![first.clone(), first, again, second])
        .await;
    assert_eq!(told, vec![Ok(()); 4]);
    let taken = take(line, 2).await;
    assert_is(&taken[0], 1);
    assert_is(&taken[1], 2);
}

async fn what_is_not_settled_comes_again(line: &dyn WanLine) {
    publish(line, 0..2).await;
    let first = take(line, 2).await;
    settle(line, &first[1], Verdict::Done).await;
    let again = take(line, 1).await;
    assert_is(&again[0], 0);
    assert_eq!(
        (again[0].attempt, again[0].sequence),
        (2, first[0].sequence)
    );
    settle(line, &again[0], Verdict::Done).await;
}

async fn who_works_on_is_not_disturbed(line: &dyn WanLine) {
    publish(line, 0..2).await;
    let taken = take(line, 2).await;
    let (slow, lost) = (&taken[0], &taken[1]);
    // When the lost one comes again, the time of the slow one would be over too.
    let mut at_work = tokio::time::interval(RULES.settle_within / 8);
    let again = line.pull(2);
    tokio::pin!(again);
    let again = loop {
        tokio::select! {
            again = &mut again => break again.unwrap(),
            _ = at_work.tick() => settle(line, slow, Verdict::StillWorking).await,
        }
    };
    let sequences: Vec<u64> = again.iter().map(|delivery| delivery.sequence).collect();
    assert_eq!(sequences, [lost.sequence]);
}

async fn later_is_later_and_the_last_time_is_death(line: &dyn WanLine) {
    publish(line, 0..1).await;
    for attempt in 1..=RULES.attempts {
        let taken = take(line, 1).await;
        assert_eq!(taken[0].attempt, attempt);
        settle(line, &taken[0], Verdict::Later(Duration::from_millis(50))).await;
    }
    let dead = line.dead(0, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, "given up after 3 attempts");
}

async fn a_dead_letter_is_whole(line: &dyn WanLine) {
    publish(line, 6..8).await;
    let taken = take(line, 2).await;
    let reason = "no envelope: \u{fc}\r\nnot: JSON".to_owned();
    settle(line, &taken[1], Verdict::Never(reason.clone())).await;
    // Whoever did not hear the answer asks again.
    settle(line, &taken[1], Verdict::Never(reason.clone())).await;
    let dead = line.dead(0, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, reason);
    assert_eq!(dead[0].line_sequence, taken[1].sequence);
    assert_eq!(dead[0].message_id, letter(7).message_id.into());
    assert_eq!(dead[0].body, taken[1].body);
    assert_eq!(dead[0].headers, taken[1].headers);
    let sequence = dead[0].sequence;
    assert_eq!(line.dead_letter(sequence).await, Ok(dead.first().cloned()));
    assert_eq!(line.dead_letter(sequence + 1).await, Ok(None));
}

async fn dead_letters_are_listed_in_pages(line: &dyn WanLine) {
    publish(line, 0..7).await;
    for delivery in take(line, 7).await {
        settle(line, &delivery, Verdict::Never("bad".to_owned())).await;
    }
    let first = line.dead(0, 3).await.unwrap();
    let second = line.dead(first[2].sequence, 3).await.unwrap();
    let third = line.dead(second[2].sequence, 3).await.unwrap();
    let all = [first, second, third].concat();
    assert_eq!(all.len(), 7);
    for (number, dead) in all.iter().enumerate() {
        assert_eq!(dead.body, letter(number).body);
    }
    let last = all[6].sequence;
    assert_eq!(line.dead(last, 3).await, Ok(Vec::new()));
}

async fn a_dead_letter_goes_again_or_is_dropped(line: &dyn WanLine) {
    publish(line, 0..2).await;
    for delivery in take(line, 2).await {
        settle(line, &delivery, Verdict::Never("bad".to_owned())).await;
    }
    let dead = line.dead(0, 10).await.unwrap();
    assert_eq!(line.again(dead[0].sequence).await, Ok(true));
    assert_eq!(line.again(dead[0].sequence).await, Ok(false));
    assert_eq!(line.drop_dead(dead[1].sequence).await, Ok(true));
    assert_eq!(line.drop_dead(dead[1].sequence).await, Ok(false));
    assert_eq!(line.dead(0, 10).await, Ok(Vec::new()));
    let again = take(line, 1).await;
    assert_is(&again[0], 0);
    assert_eq!(again[0].attempt, 1);
}

async fn what_kills_its_taker_dies(line: &dyn WanLine) {
    publish(line, 0..1).await;
    for attempt in 1..=RULES.attempts {
        assert_eq!(take(line, 1).await[0].attempt, attempt);
    }
    assert_eq!(line.pull(1).await, Ok(Vec::new()));
    assert_eq!(line.dead(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_line_that_is_cut_says_so() {
    let line = InProcessLine::new(PATIENT);
    publish(&line, 0..1).await;
    line.cut(true);
    let cut = LineError::Unavailable("it is cut".to_owned());
    assert_eq!(line.publish(vec![letter(1)]).await, [Err(cut.clone())]);
    assert_eq!(line.pull(1).await, Err(cut));
    line.cut(false);
    settle(&line, &take(&line, 1).await[0], Verdict::Done).await;
    assert_eq!(line.open(), 0);
}
