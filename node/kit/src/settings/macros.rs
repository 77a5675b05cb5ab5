//! What a declaration of settings looks like.

/// Declares settings: a struct (a table of the file) or an enum (a choice between words).
///
/// ```
/// use std::{net::SocketAddr, time::Duration};
/// use archipel_kit::settings;
/// use archipel_kit::settings::{Environment, Problems, Secret};
///
/// settings! {
///     /// What one server needs.
///     pub struct ServerSettings, check = ServerSettings::check {
///         /// Address to listen on.
///         pub listen: SocketAddr = "127.0.0.1:7400", env ["SERVER_LISTEN"];
///         /// How long a request may take.
///         pub limit: Duration = "30s", in "1s"..="10m", env ["SERVER_LIMIT_MS"];
///         /// What callers must present. Unset: nobody gets in.
///         pub token: Option<Secret>, in 32..=512, env ["SERVER_TOKEN", "OLD_SERVER_TOKEN"];
///         /// How much is logged.
///         pub level: Level = "info";
///         /// Names that are served.
///         pub names: Vec<String> = [], in 0..=64;
///         /// Servers to know.
///         pub others: Vec<OtherSettings>;
///     }
/// }
/// settings! {
///     /// Another server (`[[others]]`).
///     pub struct OtherSettings {
///         /// Its name.
///         pub name: String, in 1..=64, example "beta";
///     }
/// }
/// settings! {
///     /// How much is logged.
///     pub enum Level {
///         /// What an operator wants to see.
///         Info = "info",
///         /// Everything.
///         Debug = "debug",
///     }
/// }
/// impl ServerSettings {
///     fn check(&self, problems: &mut Problems) {
///         if self.names.is_empty() && self.token.is_none() {
///             problems.add("token", "is needed when no names are served");
///         }
///     }
/// }
///
/// let problems = settings::load::<ServerSettings>(None, &Environment::default()).unwrap_err();
/// assert_eq!(problems.to_string(), "token: is needed when no names are served");
/// ```
///
/// Clauses of a field come in the order `= default`, `in low..=high`, `env [..]`, `example value`. A field without
/// default must be given, unless it is an `Option` (absent) or a `Vec` of tables (empty). Bounds hold for whole
/// numbers, times and sizes, for the characters of a text or secret, and for the entries of a list.
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $struct_doc:literal])*
        $visibility:vis struct $name:ident $(, check = $check:path)? {
            $(
                $(#[doc = $doc:literal])*
                $field_visibility:vis $field:ident : $type:ty
                $(= $default:tt)?
                $(, in $low:literal ..= $high:literal)?
                $(, env [$($variable:literal),* $(,)?])?
                $(, example $sample:tt)?
                ;
            )*
        }
    ) => {
        $(#[doc = $struct_doc])*
        #[derive(Debug, Clone, PartialEq)]
        $visibility struct $name {
            $( $(#[doc = $doc])* $field_visibility $field: $type, )*
        }

        impl $crate::settings::Settings for $name {
            const DOC: &'static [&'static str] = &[$($struct_doc),*];

            fn keys() -> ::std::vec::Vec<$crate::settings::Key> {
                ::std::vec![$(
                    $crate::settings::Key {
                        name: ::core::stringify!($field),
                        doc: &[$($doc),*],
                        environment: &[$($($variable),*)?],
                        default: $crate::optional_toml!($($default)?),
                        bounds: $crate::bounds_toml!($($low, $high)?),
                        sample: $crate::optional_toml!($($sample)?),
                        shape: <$type as $crate::settings::Setting>::shape(),
                    },
                )*]
            }

            fn read(table: &mut $crate::settings::Table<'_>) -> ::core::option::Option<Self> {
                let keys = Self::keys();
                table.refuse_unknown(&keys);
                let mut keys = keys.iter();
                // All fields are read before any `?`, so that no problem hides another.
                $( let $field = keys.next().and_then(|key| table.setting::<$type>(key)); )*
                let settings = Self { $( $field: $field?, )* };
                $( $check(&settings, table.problems()); )?
                ::core::option::Option::Some(settings)
            }
        }

        impl $crate::settings::Setting for $name {
            fn shape() -> $crate::settings::Shape {
                $crate::settings::Shape::Table(<Self as $crate::settings::Settings>::keys)
            }

            fn list_shape() -> $crate::settings::Shape {
                $crate::settings::Shape::Tables(<Self as $crate::settings::Settings>::keys)
            }

            fn read(source: $crate::settings::Source<'_>) -> ::core::option::Option<Self> {
                source.table()
            }

            fn read_list(
                source: $crate::settings::Source<'_>,
            ) -> ::core::option::Option<::std::vec::Vec<Self>> {
                source.tables()
            }
        }
    };
    (
        $(#[doc = $enum_doc:literal])*
        $visibility:vis enum $name:ident {
            $( $(#[doc = $doc:literal])* $variant:ident = $word:literal ),+ $(,)?
        }
    ) => {
        $(#[doc = $enum_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility enum $name {
            $( $(#[doc = $doc])* $variant, )+
        }

        impl $name {
            /// The word that stands for it in a file or variable.
            #[must_use]
            $visibility const fn word(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )+
                }
            }
        }

        impl $crate::settings::Scalar for $name {
            const EXPECTED: &'static str = ::core::concat!("one of", $(" `", $word, "`"),+);
            const SAMPLE: &'static str = "\"\"";

            fn from_text(text: &str) -> ::core::option::Option<Self> {
                match text.trim() {
                    $( $word => ::core::option::Option::Some(Self::$variant), )+
                    _ => ::core::option::Option::None,
                }
            }

            fn from_variable(text: &str, name: &str) -> ::core::option::Option<Self> {
                Self::from_text(&$crate::settings::word_of_variable(text, name))
            }
        }
    };
}

/// A literal, or a list of literals, as an optional TOML value.
#[doc(hidden)]
#[macro_export]
macro_rules! optional_toml {
    () => {
        ::core::option::Option::None
    };
    ([$($item:literal),* $(,)?]) => {
        ::core::option::Option::Some($crate::settings::TomlValue::Array(
            ::std::vec![$($crate::settings::TomlValue::from($item)),*],
        ))
    };
    ($value:literal) => {
        ::core::option::Option::Some($crate::settings::TomlValue::from($value))
    };
}

/// A pair of bounds as optional TOML values.
#[doc(hidden)]
#[macro_export]
macro_rules! bounds_toml {
    () => {
        ::core::option::Option::None
    };
    ($low:literal, $high:literal) => {
        ::core::option::Option::Some((
            $crate::settings::TomlValue::from($low),
            $crate::settings::TomlValue::from($high),
        ))
    };
}
