//! The kinds of shapes, as signed distances.

/// A kind of shape: a class of the generated set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Disc,
    Square,
    Triangle,
    Star,
    Ring,
    Cross,
    Crescent,
    Stripes,
    Checker,
    Dots,
}

impl Shape {
    /// All, in the order of their labels.
    pub(super) const ALL: [Self; 10] = [
        Self::Disc,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Ring,
        Self::Cross,
        Self::Crescent,
        Self::Stripes,
        Self::Checker,
        Self::Dots,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Disc => "disc",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Ring => "ring",
            Self::Cross => "cross",
            Self::Crescent => "crescent",
            Self::Stripes => "stripes",
            Self::Checker => "checker",
            Self::Dots => "dots",
        }
    }

    /// How much of its second colour the shape's surface shows at (x, y) of the unit circle, 0 to 1:
    /// a pattern of its own, which any crop of it shows.
    pub(super) fn surface(self, x: f32, y: f32) -> f32 {
        let wave = |phase: f32| 0.5 + 0.5 * (phase * std::f32::consts::TAU).sin();
        match self {
            Self::Disc => wave(1.6 * x.hypot(y)),
            Self::Square => wave(1.5 * x) * wave(1.5 * y),
            Self::Triangle => wave(2.2 * y),
            Self::Star => wave(5.0 * y.atan2(x) / std::f32::consts::TAU),
            Self::Ring => wave(3.0 * x.hypot(y)),
            Self::Cross => wave(1.2 * (x + y)).max(wave(1.2 * (x - y))),
            Self::Crescent => 0.5 + 0.5 * y.clamp(-1.0, 1.0),
            Self::Stripes | Self::Checker | Self::Dots => 0.0,
        }
    }

    /// Distance of (x, y) from the shape's edge, negative inside, for a shape within the unit
    /// circle. Exact near the edge, which is all that antialiasing needs.
    pub(super) fn distance(self, x: f32, y: f32) -> f32 {
        let radius = x.hypot(y);
        match self {
            Self::Disc => radius - 0.85,
            Self::Square => x.abs().max(y.abs()) - 0.7,
            Self::Triangle => {
                let side = 0.866 * x.abs() + 0.5 * y;
                side.max(-y) - 0.5
            }
            Self::Star => star(x, y),
            Self::Ring => (radius - 0.65).abs() - 0.2,
            Self::Cross => {
                let (x, y) = (x.abs(), y.abs());
                (x - 0.25).max(y - 0.9).min((y - 0.25).max(x - 0.9))
            }
            Self::Crescent => (radius - 0.85).max(0.7 - (x - 0.45).hypot(y)),
            Self::Stripes => (repeat(x, 0.5).abs() - 0.13).max(radius - 0.95),
            Self::Checker => {
                let (u, v) = (repeat(x, 0.8), repeat(y, 0.8));
                // Squares where both or neither coordinate is in the first half of its period.
                let edge = u.abs().min(v.abs()).min((0.4 - u.abs()).min(0.4 - v.abs()));
                let inside = (u > 0.0) == (v > 0.0);
                (if inside { -edge } else { edge }).max(x.abs().max(y.abs()) - 0.8)
            }
            Self::Dots => {
                let dot = repeat(x + 0.25, 0.5).hypot(repeat(y + 0.25, 0.5)) - 0.16;
                dot.max(radius - 0.95)
            }
        }
    }
}

/// `value` modulo `period`, in -period/2..period/2.
fn repeat(value: f32, period: f32) -> f32 {
    value - (value / period).round() * period
}

/// A five-pointed star: the tip at distance 0.95, the notches at 0.4.
fn star(x: f32, y: f32) -> f32 {
    const TIP: f32 = 0.95;
    const NOTCH: f32 = 0.4;
    let sector = std::f32::consts::TAU / 5.0;
    let angle = repeat(x.atan2(y), sector).abs();
    let radius = x.hypot(y);
    let (px, py) = (radius * angle.sin(), radius * angle.cos());
    // The line from the tip (0, TIP) to the notch, and the distance to its outer side.
    let (nx, ny) = (NOTCH * (sector / 2.0).sin(), NOTCH * (sector / 2.0).cos());
    let (ex, ey) = (nx, ny - TIP);
    let length = ex.hypot(ey);
    (-ey * px + ex * (py - TIP)) / length
}
