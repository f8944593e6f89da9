//! Noise for simulations, the same in every run.

/// A linear congruential generator, with the constants of Knuth's MMIX.
pub(super) struct Noise(pub(super) u64);

impl Noise {
    /// Returns the next number, from 0 to 1.
    pub(super) fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 33).unwrap_or(u32::MAX)) / f64::from(1_u32 << 31)
    }
}
