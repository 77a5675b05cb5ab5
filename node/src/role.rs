//! What a caller may be at most: the three roles of a node, in their order.

use archipel_kit::settings;

settings! {
    /// What a caller counts as. Each role may do what those before it may.
    pub enum Role {
        /// Looks.
        Viewer = "viewer",
        /// Calls agents.
        Operator = "operator",
        /// Changes the node.
        Admin = "admin",
    }
}

impl Role {
    /// Whether this role may do what needs that one.
    pub fn covers(self, needed: Self) -> bool {
        self.rank() >= needed.rank()
    }

    fn rank(self) -> u8 {
        match self {
            Self::Viewer => 0,
            Self::Operator => 1,
            Self::Admin => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Role::{Admin, Operator, Viewer};

    #[test]
    fn a_role_covers_itself_and_those_before_it() {
        for (role, covered) in [
            (Viewer, [true, false, false]),
            (Operator, [true, true, false]),
            (Admin, [true, true, true]),
        ] {
            let found = [Viewer, Operator, Admin].map(|needed| role.covers(needed));
            assert_eq!(found, covered, "{role:?}");
        }
    }
}
