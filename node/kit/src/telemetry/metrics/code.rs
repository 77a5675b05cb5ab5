//! The status of an answer as a label.

use std::borrow::Cow;

use actix_web::http::StatusCode;

use super::Label;

/// A status, 100 to 599; what somebody sends beyond that counts as 599.
#[derive(Debug, Clone, Copy)]
pub struct Code(u16);

impl From<StatusCode> for Code {
    fn from(status: StatusCode) -> Self {
        Self(status.as_u16().clamp(100, 599))
    }
}

impl Label for Code {
    const NAME: &'static str = "code";
    const COUNT: usize = 500;

    fn index(self) -> usize {
        usize::from(self.0 - 100)
    }

    fn text(index: usize) -> Cow<'static, str> {
        (index + 100).to_string().into()
    }
}
