//! What invitations, answers and confirmations must be, and what they never are.

use super::*;
use crate::federation::{Claimed, Minter, PeerKey, Policy, Verifier, VerifyError, claimed, keys};

const NOW: i64 = 1_800_000_000;

fn signer(byte: u8) -> StatementSigner {
    StatementSigner::new(&[byte; 32]).unwrap()
}

fn origin(name: &str) -> Origin {
    Origin::parse(&format!("https://{name}.example.org")).unwrap()
}

fn invitation() -> Invitation {
    Invitation {
        origin: origin("alpha"),
        id: Uuid::from_u128(7),
        issued_at: NOW,
        expires_at: NOW + 3600,
        key: *signer(1).public_key(),
        name: Some(Text::parse("beta").unwrap()),
        grant: Grant {
            agents: Some(vec![Text::parse("echo").unwrap()]),
            limit: Some(GrantLimit {
                calls: 10,
                seconds: 60,
            }),
            ..Grant::default()
        },
        hold: false,
        allow_private: false,
        review_by: Some(Text::parse("2027-01-31").unwrap()),
    }
}

fn acceptance() -> Acceptance {
    Acceptance {
        origin: origin("beta"),
        inviter: origin("alpha"),
        invitation: Uuid::from_u128(7),
        issued_at: NOW,
        key: *signer(2).public_key(),
    }
}

fn confirmation() -> Confirmation {
    Confirmation {
        origin: origin("alpha"),
        accepted_by: origin("beta"),
        invitation: Uuid::from_u128(7),
        key: *signer(1).public_key(),
        accepted_key: *signer(2).public_key(),
        held: false,
    }
}

#[test]
fn what_was_signed_comes_back() {
    let text = invitation().to_text(&signer(1)).unwrap();
    assert!(text.starts_with(PREFIX) && !text.contains(char::is_whitespace));
    let pasted = format!("  {text}\n");
    assert_eq!(Invitation::parse(&pasted, NOW), Ok(invitation()));
    let answer = signer(2).sign(&acceptance()).unwrap();
    assert_eq!(
        Acceptance::parse(&answer, &invitation(), NOW),
        Ok(acceptance())
    );
    let confirmed = signer(1).sign(&confirmation()).unwrap();
    assert_eq!(
        Confirmation::parse(&confirmed, &invitation(), &acceptance()),
        Ok(confirmation())
    );
}

#[test]
fn an_invitation_has_its_time_and_its_bounds() {
    let check = |change: &dyn Fn(&mut Invitation), now: i64, expected: InvitationError| {
        let mut changed = invitation();
        change(&mut changed);
        let text = changed.to_text(&signer(1)).unwrap();
        assert_eq!(Invitation::parse(&text, now), Err(expected));
    };
    check(&|_| {}, NOW + 3600, InvitationError::Expired);
    check(&|_| {}, NOW - 61, InvitationError::TooEarly);
    check(
        &|one| one.expires_at = NOW + MAX_LIFE_SECONDS + 1,
        NOW,
        InvitationError::OutOfBounds,
    );
    check(
        &|one| one.expires_at = NOW - 1,
        NOW - 2,
        InvitationError::OutOfBounds,
    );
    check(
        &|one| (one.issued_at, one.expires_at) = (i64::MIN, i64::MAX),
        NOW,
        InvitationError::OutOfBounds,
    );
    check(
        &|one| one.grant.methods = Some(vec![Text::parse("GetTask").unwrap(); 65]),
        NOW,
        InvitationError::OutOfBounds,
    );
    check(
        &|one| {
            one.grant.limit = Some(GrantLimit {
                calls: 0,
                seconds: 1,
            });
        },
        NOW,
        InvitationError::OutOfBounds,
    );
    let text = invitation().to_text(&signer(1)).unwrap();
    assert!(Invitation::parse(&text, NOW + 3599).is_ok());
    assert!(Invitation::parse(&text, NOW - 60).is_ok());
}

#[test]
fn whoever_changes_one_character_has_no_invitation() {
    let text = invitation().to_text(&signer(1)).unwrap();
    for at in PREFIX.len()..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(Invitation::parse(&changed, NOW).is_err(), "{at}");
    }
    let by_another = invitation().to_text(&signer(3)).unwrap();
    for (text, expected) in [
        (
            by_another.as_str(),
            InvitationError::Statement(StatementError::BadSignature),
        ),
        ("", InvitationError::NoInvitation),
        (&text[PREFIX.len()..], InvitationError::NoInvitation),
        (
            PREFIX,
            InvitationError::Statement(StatementError::Malformed),
        ),
        (
            &text[..text.len() - 1],
            InvitationError::Statement(StatementError::Malformed),
        ),
    ] {
        let found = Invitation::parse(text, NOW).unwrap_err();
        let is_expected =
            found == expected || found == InvitationError::Statement(StatementError::BadSignature);
        assert!(is_expected, "{text}: {found}");
    }
    let long = format!("{PREFIX}{}", "a".repeat(1 << 20));
    assert_eq!(
        Invitation::parse(&long, NOW),
        Err(InvitationError::Statement(StatementError::Malformed))
    );
}

#[test]
fn an_answer_belongs_to_one_invitation() {
    let check = |change: &dyn Fn(&mut Acceptance), now: i64| {
        let mut changed = acceptance();
        change(&mut changed);
        let text = signer(2).sign(&changed).unwrap();
        let found = Acceptance::parse(&text, &invitation(), now);
        assert_eq!(found, Err(InvitationError::WrongAnswer), "{changed:?}");
    };
    check(&|one| one.invitation = Uuid::from_u128(8), NOW);
    check(&|one| one.inviter = origin("gamma"), NOW);
    // The inviter's own invitation must not make it a peer of itself.
    check(&|one| one.origin = origin("alpha"), NOW);
    check(&|_| {}, NOW + 301);
    check(&|_| {}, NOW - 61);

    let check = |change: &dyn Fn(&mut Confirmation)| {
        let mut changed = confirmation();
        change(&mut changed);
        let text = signer(1).sign(&changed).unwrap();
        let found = Confirmation::parse(&text, &invitation(), &acceptance());
        assert_eq!(found, Err(InvitationError::WrongAnswer), "{changed:?}");
    };
    check(&|one| one.invitation = Uuid::from_u128(8));
    check(&|one| one.accepted_by = origin("gamma"));
    check(&|one| one.accepted_key = [3; 32]);
    check(&|one| one.origin = origin("gamma"));
    // Somebody else confirms, with a key of their own.
    let by_another = Confirmation {
        key: *signer(3).public_key(),
        ..confirmation()
    };
    let text = signer(3).sign(&by_another).unwrap();
    assert_eq!(
        Confirmation::parse(&text, &invitation(), &acceptance()),
        Err(InvitationError::WrongAnswer)
    );
}

#[test]
fn no_statement_is_a_token_and_no_token_a_statement() {
    let policy = Policy {
        audience: Some(origin("alpha").to_string()),
        require_jti: false,
        ..Policy::default()
    };
    let keys = [
        (origin("alpha"), [PeerKey::new(*signer(1).public_key())]),
        (origin("beta"), [PeerKey::new(*signer(2).public_key())]),
    ];
    let verifier = Verifier::ed25519(keys).unwrap();
    for text in [
        signer(1).sign(&invitation()).unwrap(),
        signer(2).sign(&acceptance()).unwrap(),
        signer(1).sign(&confirmation()).unwrap(),
    ] {
        let found = verifier.verify(&text, &policy, NOW);
        assert_eq!(found, Err(VerifyError::BadClaims));
    }
    let token = Minter::ed25519(&[2; 32], &origin("beta"))
        .unwrap()
        .mint(
            Some("https://alpha.example.org"),
            60,
            Uuid::from_u128(7),
            NOW,
        )
        .unwrap();
    assert!(verifier.verify(&token, &policy, NOW).is_ok());
    assert_eq!(claimed(&token), None);
    assert_eq!(
        Acceptance::parse(&token, &invitation(), NOW),
        Err(InvitationError::Statement(StatementError::WrongType))
    );
    let other_kind = signer(1).sign(&confirmation()).unwrap();
    assert_eq!(
        Acceptance::parse(&other_kind, &invitation(), NOW),
        Err(InvitationError::Statement(StatementError::WrongType))
    );
}

#[test]
fn a_named_token_says_which_key_it_is_by() {
    let audience = Some("https://alpha.example.org");
    let minter = Minter::ed25519(&[2; 32], &origin("beta")).unwrap().named();
    let token = minter.mint(audience, 60, Uuid::from_u128(7), NOW).unwrap();
    let expected = Claimed {
        issuer: origin("beta").to_string(),
        key_id: keys::thumbprint(signer(2).public_key()),
    };
    assert_eq!(claimed(&token), Some(expected));
    for text in ["", "a.b.c", &token.replace('.', "")] {
        assert_eq!(claimed(text), None);
    }
}
