//! What is counted, and how cheaply.
//!
//! Labels are enums, so the number of series is known when a metric is declared. A counter or gauge is then an array of
//! atomics, one per series: counting costs a few nanoseconds and no allocation, and the meter reads the array only
//! when somebody asks for the metrics. Series that never counted are not shown.
//!
//! Read `named` for metrics over names that only the configuration knows, and `code` for the one label that is no enum.

mod code;
mod named;

use std::{
    borrow::Cow,
    fmt,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use opentelemetry::{KeyValue, metrics::Histogram as OtelHistogram};

pub use code::Code;
pub use named::{NamedHistogram, NamedSeries, observe_named};
pub use opentelemetry::metrics::Meter;

/// Boundaries of every histogram of times, in seconds.
const SECONDS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0,
];

/// A label with a known set of values.
pub trait Label: Copy {
    /// The label's name.
    const NAME: &'static str;
    /// How many values it has.
    const COUNT: usize;

    /// The position of this value, below [`COUNT`](Self::COUNT).
    fn index(self) -> usize;

    /// The text of the value at a position.
    fn text(index: usize) -> Cow<'static, str>;
}

/// The labels of one metric: `()`, one label, or a tuple of two or three.
pub trait Labels {
    /// How many series they make.
    const SERIES: usize;

    /// The position of these values among the series.
    fn index(self) -> usize;

    /// The names and values of the series at a position.
    fn attributes(index: usize) -> Vec<KeyValue>;
}

impl Labels for () {
    const SERIES: usize = 1;

    fn index(self) -> usize {
        0
    }

    fn attributes(_: usize) -> Vec<KeyValue> {
        Vec::new()
    }
}

impl<A: Label> Labels for A {
    const SERIES: usize = A::COUNT;

    fn index(self) -> usize {
        Label::index(self)
    }

    fn attributes(index: usize) -> Vec<KeyValue> {
        vec![KeyValue::new(A::NAME, A::text(index))]
    }
}

impl<A: Label, B: Labels> Labels for (A, B) {
    const SERIES: usize = A::COUNT * B::SERIES;

    fn index(self) -> usize {
        Label::index(self.0) * B::SERIES + self.1.index()
    }

    fn attributes(index: usize) -> Vec<KeyValue> {
        let mut attributes = vec![KeyValue::new(A::NAME, A::text(index / B::SERIES))];
        attributes.extend(B::attributes(index % B::SERIES));
        attributes
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    const SERIES: usize = A::COUNT * B::COUNT * C::COUNT;

    fn index(self) -> usize {
        (self.0, (self.1, self.2)).index()
    }

    fn attributes(index: usize) -> Vec<KeyValue> {
        <(A, (B, C))>::attributes(index)
    }
}

/// A metric that can be declared in [`metrics!`](crate::metrics!).
pub trait Metric {
    /// Makes it and tells the meter how to read it.
    fn register(meter: &Meter, name: &'static str, help: &'static str) -> Self;
}

/// Something that only grows.
pub struct Counter<L> {
    series: Arc<[AtomicU64]>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Counter<L> {
    /// Counts one.
    pub fn count(&self, labels: L) {
        self.add(1, labels);
    }

    /// Counts several.
    pub fn add(&self, number: u64, labels: L) {
        if let Some(series) = self.series.get(labels.index()) {
            series.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn value(&self, labels: L) -> u64 {
        self.series
            .get(labels.index())
            .map(|series| series.load(Ordering::Relaxed))
            .unwrap_or_default()
    }
}

impl<L: Labels> Metric for Counter<L> {
    fn register(meter: &Meter, name: &'static str, help: &'static str) -> Self {
        let series: Arc<[AtomicU64]> = std::iter::repeat_with(AtomicU64::default)
            .take(L::SERIES)
            .collect();
        let read = Arc::clone(&series);
        meter
            .u64_observable_counter(name)
            .with_description(help)
            .with_callback(move |observer| {
                for (index, series) in read.iter().enumerate() {
                    let value = series.load(Ordering::Relaxed);
                    if value > 0 {
                        observer.observe(value, &L::attributes(index));
                    }
                }
            })
            .build();
        Self {
            series,
            labels: PhantomData,
        }
    }
}

/// Something that goes up and down.
pub struct Gauge<L> {
    series: Arc<[AtomicI64]>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Gauge<L> {
    /// Moves it by so much, up or down.
    pub fn add(&self, number: i64, labels: L) {
        if let Some(series) = self.series.get(labels.index()) {
            series.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// Sets it.
    pub fn set(&self, value: i64, labels: L) {
        if let Some(series) = self.series.get(labels.index()) {
            series.store(value, Ordering::Relaxed);
        }
    }

    /// Where it stands.
    pub fn value(&self, labels: L) -> i64 {
        self.series
            .get(labels.index())
            .map(|series| series.load(Ordering::Relaxed))
            .unwrap_or_default()
    }
}

impl<L: Labels> Metric for Gauge<L> {
    fn register(meter: &Meter, name: &'static str, help: &'static str) -> Self {
        let series: Arc<[AtomicI64]> = std::iter::repeat_with(AtomicI64::default)
            .take(L::SERIES)
            .collect();
        let read = Arc::clone(&series);
        meter
            .i64_observable_gauge(name)
            .with_description(help)
            .with_callback(move |observer| {
                for (index, series) in read.iter().enumerate() {
                    observer.observe(series.load(Ordering::Relaxed), &L::attributes(index));
                }
            })
            .build();
        Self {
            series,
            labels: PhantomData,
        }
    }
}

/// How long something took, in seconds, from half a millisecond to a minute. Costs about 100 ns.
pub struct Histogram<L> {
    inner: OtelHistogram<f64>,
    /// Made once, so that recording allocates nothing.
    attributes: Arc<[Vec<KeyValue>]>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Histogram<L> {
    /// Records one duration.
    pub fn record(&self, duration: std::time::Duration, labels: L) {
        if let Some(attributes) = self.attributes.get(labels.index()) {
            self.inner.record(duration.as_secs_f64(), attributes);
        }
    }
}

impl<L: Labels> Metric for Histogram<L> {
    fn register(meter: &Meter, name: &'static str, help: &'static str) -> Self {
        let inner = meter
            .f64_histogram(name)
            .with_description(help)
            .with_boundaries(SECONDS.to_vec())
            .build();
        Self {
            inner,
            attributes: (0..L::SERIES).map(L::attributes).collect(),
            labels: PhantomData,
        }
    }
}

macro_rules! cloned_and_shown {
    ($($metric:ident { $($field:ident),+ })+) => {$(
        /// Clones count into the same series.
        impl<L> Clone for $metric<L> {
            fn clone(&self) -> Self {
                Self { $($field: self.$field.clone(),)+ labels: PhantomData }
            }
        }

        impl<L> fmt::Debug for $metric<L> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_struct(stringify!($metric)).finish_non_exhaustive()
            }
        }
    )+};
}

cloned_and_shown! {
    Counter { series }
    Gauge { series }
    Histogram { inner, attributes }
}

/// Declares metrics, or a label for them.
///
/// ```
/// use archipel_kit::{metrics, telemetry::metrics::{Counter, Gauge, Meter}};
///
/// metrics! {
///     /// How a call ended.
///     pub enum Outcome = "outcome" {
///         Passed = "passed",
///         Refused = "refused",
///     }
/// }
/// metrics! {
///     /// What the door counts.
///     pub struct DoorMetrics {
///         /// Calls by how they ended.
///         pub calls: Counter<Outcome> = "archipel_door_calls_total";
///         /// Calls that are inside.
///         pub inside: Gauge<()> = "archipel_door_inside";
///     }
/// }
/// # fn use_it(meter: &Meter) {
/// let metrics = DoorMetrics::new(meter);
/// metrics.calls.count(Outcome::Passed);
/// # }
/// ```
///
/// The documentation of a field is the help text that operators see. Names end in a unit, or in `_total` for counters.
#[macro_export]
macro_rules! metrics {
    (
        $(#[doc = $struct_doc:literal])*
        $visibility:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field_visibility:vis $field:ident : $type:ty = $metric:literal;
            )+
        }
    ) => {
        $(#[doc = $struct_doc])*
        #[derive(Debug, Clone)]
        $visibility struct $name {
            $( $(#[doc = $doc])+ $field_visibility $field: $type, )+
        }

        impl $name {
            /// Declares them all on a meter.
            $visibility fn new(meter: &$crate::telemetry::metrics::Meter) -> Self {
                Self {
                    $( $field: <$type as $crate::telemetry::metrics::Metric>::register(
                        meter,
                        $metric,
                        ::core::concat!($($doc),+).trim_ascii(),
                    ), )+
                }
            }
        }
    };
    (
        $(#[doc = $enum_doc:literal])*
        $visibility:vis enum $name:ident = $label:literal {
            $( $(#[doc = $doc:literal])* $variant:ident = $text:literal ),+ $(,)?
        }
    ) => {
        $(#[doc = $enum_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility enum $name {
            $( $(#[doc = $doc])* $variant, )+
        }

        impl $crate::telemetry::metrics::Label for $name {
            const NAME: &'static str = $label;
            const COUNT: usize = [$($text),+].len();

            fn index(self) -> usize {
                self as usize
            }

            fn text(index: usize) -> ::std::borrow::Cow<'static, str> {
                [$($text),+].get(index).copied().unwrap_or_default().into()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    use super::*;

    metrics! {
        enum Colour = "colour" { Red = "red", Blue = "blue" }
    }
    metrics! {
        enum Size = "size" { Small = "small", Large = "large", Huge = "huge" }
    }
    metrics! {
        /// Balls.
        struct Balls {
            /// Balls seen.
            seen: Counter<(Colour, Size)> = "balls_seen_total";
            /// Balls held.
            held: Gauge<Colour> = "balls_held";
            /// How long they were held.
            time: Histogram<()> = "balls_held_seconds";
        }
    }

    #[test]
    fn each_series_is_counted_apart() {
        let balls = Balls::new(&SdkMeterProvider::default().meter("test"));
        balls.seen.count((Colour::Red, Size::Huge));
        balls.seen.add(4, (Colour::Blue, Size::Small));
        assert_eq!(balls.seen.value((Colour::Red, Size::Huge)), 1);
        assert_eq!(balls.seen.value((Colour::Blue, Size::Small)), 4);
        assert_eq!(balls.seen.value((Colour::Blue, Size::Large)), 0);
        balls.held.add(2, Colour::Red);
        balls.held.add(-1, Colour::Red);
        balls.held.set(7, Colour::Blue);
        assert_eq!(
            (
                balls.held.value(Colour::Red),
                balls.held.value(Colour::Blue)
            ),
            (1, 7)
        );
        balls
            .time
            .clone()
            .record(std::time::Duration::from_millis(3), ());
    }

    #[test]
    fn positions_and_attributes_agree() {
        let index = (Colour::Blue, Size::Large, Colour::Red).index();
        let shown: Vec<_> = <(Colour, Size, Colour)>::attributes(index)
            .iter()
            .map(|attribute| format!("{}={}", attribute.key, attribute.value))
            .collect();
        assert_eq!(shown, ["colour=blue", "size=large", "colour=red"]);
        assert_eq!(<(Colour, Size, Colour)>::SERIES, 12);
    }
}
