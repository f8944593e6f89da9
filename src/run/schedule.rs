//! stub
use jiff::Timestamp;
use crate::job::Window;
/// x
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule(Vec<Window>);
/// x
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Current<'a> {
    /// x
    pub window: Option<&'a Window>,
    /// x
    pub until: Option<Timestamp>,
}
impl std::fmt::Display for Current<'_> { fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
impl Schedule {
    /// x
    pub fn new(windows: Vec<Window>) -> Schedule { Schedule(windows) }
    /// x
    pub fn windows(&self) -> &[Window] { &self.0 }
    /// x
    pub fn is_empty(&self) -> bool { self.0.is_empty() }
    /// x
    pub fn at(&self, _now: Timestamp) -> Current<'_> { Current { window: None, until: None } }
    /// x
    pub fn finish(&self, _now: Timestamp, _rows: f64, _speed: f64, _base: Option<f64>) -> Option<Timestamp> { None }
}

/// x
pub fn until(_hour: &str, _now: Timestamp, _zone: &jiff::tz::TimeZone) -> Result<Timestamp, String> { Err("stub".into()) }
