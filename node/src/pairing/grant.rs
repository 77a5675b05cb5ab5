//! What one node lets another do, as invitations say it and as the roster wants it: pure.

use std::time::Duration;

use archipel_kit::settings::Scalar;
use archipel_protocol::a2a::Version;
use archipel_protocol::federation::invitation::Grant;
use archipel_protocol::ids::Text;
use archipel_protocol::method::Method;
use jiff::civil::Date;

use crate::federation::peers::{Allowed, PeerLimit, PeerRights};
use crate::role::Role;

/// How a peer that pairs is treated.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) rights: PeerRights,
    pub(super) limit: Option<PeerLimit>,
    pub(super) review_by: Option<Date>,
}

/// Reads a grant.
///
/// # Errors
/// What is wrong with it, for the operator.
pub(super) fn terms(grant: &Grant, review_by: Option<&str>) -> Result<Terms, String> {
    let mut rights = PeerRights::default();
    if let Some(agents) = &grant.agents {
        let agents = agents.iter().map(|agent| agent.as_str().to_owned());
        rights.agents = Allowed::Only(agents.collect());
    }
    if let Some(methods) = &grant.methods {
        let methods = methods.iter().map(method).collect::<Result<_, _>>()?;
        rights.methods = Allowed::Only(methods);
    }
    if let Some(role) = &grant.max_role {
        let role = Role::from_text(role.as_str());
        rights.max_role =
            role.ok_or("the role must be `viewer`, `operator` or `admin`".to_owned())?;
    }
    let limit = grant.limit.map(|limit| PeerLimit {
        calls: limit.calls,
        per: Duration::from_secs(u64::from(limit.seconds)),
        burst: limit.calls,
    });
    Ok(Terms {
        rights,
        limit,
        review_by: review_by.map(day).transpose()?,
    })
}

fn method(name: &Text<64>) -> Result<Method, String> {
    Method::parse(Version::V1, name.as_str()).ok_or_else(|| {
        format!("`{name}` is no operation of A2A 1.0 (`SendMessage`, `GetTask`, ..)")
    })
}

fn day(text: &str) -> Result<Date, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is no day such as 2027-01-31"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_protocol::federation::invitation::GrantLimit;

    use super::*;

    fn texts<const MAX: usize>(all: &[&str]) -> Option<Vec<Text<MAX>>> {
        Some(all.iter().map(|text| Text::parse(*text).unwrap()).collect())
    }

    #[test]
    fn a_grant_is_as_narrow_as_it_says() {
        let found = terms(&Grant::default(), None).unwrap();
        assert_eq!(found.rights, PeerRights::default());
        assert_eq!((found.limit, found.review_by), (None, None));
        let grant = Grant {
            agents: texts(&["echo"]),
            methods: texts(&["GetTask"]),
            max_role: Some(Text::parse("viewer").unwrap()),
            limit: Some(GrantLimit {
                calls: 10,
                seconds: 60,
            }),
        };
        let found = terms(&grant, Some("2027-01-31")).unwrap();
        assert!(found.rights.agents.holds("echo") && !found.rights.agents.holds("text"));
        assert!(found.rights.methods.holds(Method::GetTask));
        assert!(!found.rights.methods.holds(Method::SendMessage));
        assert_eq!(found.rights.max_role, Role::Viewer);
        assert_eq!(found.limit.unwrap().per, Duration::from_secs(60));
        assert_eq!(found.review_by.unwrap().to_string(), "2027-01-31");
        let nothing = Grant {
            agents: texts(&[]),
            ..Grant::default()
        };
        assert!(!terms(&nothing, None).unwrap().rights.agents.holds("echo"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let check = |grant: Grant, day: Option<&str>, expected: &str| {
            let problem = terms(&grant, day).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        };
        let none = Grant::default;
        let methods = texts(&["message/send"]);
        check(Grant { methods, ..none() }, None, "no operation");
        let max_role = Some(Text::parse("root").unwrap());
        check(Grant { max_role, ..none() }, None, "must be `viewer`");
        check(none(), Some("tomorrow"), "no day");
    }
}
