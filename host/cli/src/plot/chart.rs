//! One chart: axes with their units, points with deviations, a legend beside the plot.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use hssl_engine::checkpoint::replace_file;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Carried along: no font of the system is needed, and charts look the same everywhere.
static FONT: &[u8] = include_bytes!("font/Roboto-Regular.latin.ttf");
const FAMILY: &str = "sans-serif";

const SIZE: (u32, u32) = (1200, 720);
const GRID: RGBColor = RGBColor(225, 225, 225);
const INK: RGBColor = RGBColor(40, 40, 40);

/// Told apart by people with any colour vision (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Outlines in pixels, for those who do not go by colour.
const MARKERS: [&[(i32, i32)]; 5] = [
    &[(6, 0), (4, 4), (0, 6), (-4, 4), (-6, 0), (-4, -4), (0, -6), (4, -4)],
    &[(-5, -5), (5, -5), (5, 5), (-5, 5)],
    &[(0, -7), (6, 5), (-6, 5)],
    &[(0, -8), (7, 0), (0, 8), (-7, 0)],
    &[(0, 7), (6, -5), (-6, -5)],
];

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Above the plot.
    pub title: String,
    /// Of the horizontal axis, with its unit.
    pub x: String,
    /// Of the vertical axis, with its unit.
    pub y: String,
    /// In the legend's order.
    pub series: Vec<Series>,
    /// Whether the points of a series are joined by a line.
    pub joined: bool,
}

/// Points under one entry of the legend.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// In the order in which they are joined.
    pub points: Vec<Point>,
}

/// A point, with a deviation to either side; 0: none is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Along the horizontal axis.
    pub x: f64,
    /// Along the vertical axis.
    pub y: f64,
    /// Of x.
    pub x_deviation: f64,
    /// Of y.
    pub y_deviation: f64,
}

impl Chart {
    /// Writes `NAME.svg` and `NAME.png` into a folder that there is.
    ///
    /// # Errors
    /// There is no point to draw, or a file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<[PathBuf; 2]> {
        let paths = ["svg", "png"].map(|kind| folder.join(format!("{name}.{kind}")));
        let [svg, png] = &paths;
        replace_file(svg, self.svg()?.as_bytes())?;
        replace_file(png, &self.png()?)?;
        Ok(paths)
    }

    fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.paint(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area())?;
        Ok(text)
    }

    fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = SIZE;
        let mut pixels = vec![0; (width * height * 3) as usize];
        self.paint(&BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area())?;
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(file)
    }

    fn paint<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>) -> Result<()> {
        use_font()?;
        let draw = || -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
            root.fill(&WHITE)?;
            let (plot, legend) = root.split_horizontally((SIZE.0 - self.legend_width()) as i32);
            self.plot(&plot)?;
            self.legend(&legend)?;
            root.present()
        };
        if self.points().next().is_none() {
            return Err(anyhow!("the chart {:?} has no point", self.title));
        }
        draw()
            .map_err(|error| anyhow!("{error}"))
            .with_context(|| format!("drawing {}", self.title))
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.iter().flat_map(|series| &series.points)
    }

    fn plot<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let x = range(self.points().map(|p| (p.x - p.x_deviation, p.x + p.x_deviation)));
        let y = range(self.points().map(|p| (p.y - p.y_deviation, p.y + p.y_deviation)));
        let decimals = [decimals(&x), decimals(&y)];
        let mut canvas = ChartBuilder::on(area)
            .caption(&self.title, (FAMILY, 28).into_font().color(&INK))
            .margin(20)
            .x_label_area_size(64)
            .y_label_area_size(96)
            .build_cartesian_2d(x, y)?;
        canvas
            .configure_mesh()
            .x_labels(8)
            .y_labels(8)
            .x_desc(&self.x)
            .y_desc(&self.y)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .axis_desc_style((FAMILY, 22).into_font().color(&INK))
            .label_style((FAMILY, 19).into_font().color(&INK))
            .x_label_formatter(&|value| format!("{value:.*}", decimals[0]))
            .y_label_formatter(&|value| format!("{value:.*}", decimals[1]))
            .draw()?;
        for (index, series) in self.series.iter().enumerate() {
            let (colour, outline) = look(index);
            if self.joined {
                let line: Vec<(f64, f64)> = series.points.iter().map(|p| (p.x, p.y)).collect();
                canvas.draw_series([PathElement::new(line, colour.stroke_width(2))])?;
            }
            for p in &series.points {
                let bars = [
                    [(p.x - p.x_deviation, p.y), (p.x + p.x_deviation, p.y)],
                    [(p.x, p.y - p.y_deviation), (p.x, p.y + p.y_deviation)],
                ];
                let bars = bars.into_iter().filter(|[from, to]| from != to);
                canvas
                    .draw_series(bars.map(|bar| PathElement::new(bar, colour.stroke_width(2))))?;
                let marker = Polygon::new(outline, colour.filled());
                canvas.draw_series([EmptyElement::at((p.x, p.y)) + marker])?;
            }
        }
        Ok(())
    }

    /// A column of its own, beside the plot.
    fn legend<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let style = (FAMILY, 20).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
        for (index, series) in self.series.iter().enumerate() {
            let (colour, outline) = look(index);
            let middle = 84 + 30 * index as i32;
            let placed = outline.iter().map(|(x, y)| (14 + x, middle + y));
            area.draw(&Polygon::new(placed.collect::<Vec<_>>(), colour.filled()))?;
            // Letters sit in the upper part of their line.
            area.draw_text(&series.name, &style, (32, middle + 3))?;
        }
        Ok(())
    }

    /// Room for the longest name, but never more than half of the picture.
    fn legend_width(&self) -> u32 {
        let width = |series: &Series| {
            let size = (FAMILY, 20).into_font().box_size(&series.name);
            size.map_or(12 * series.name.len() as u32, |(width, _)| width)
        };
        let longest = self.series.iter().map(width).max().unwrap_or(0);
        (longest + 56).min(SIZE.0 / 2)
    }
}

/// Colour and marker of a series: 35 pairs before one comes again.
fn look(index: usize) -> (RGBColor, &'static [(i32, i32)]) {
    (COLOURS[index % COLOURS.len()], MARKERS[index % MARKERS.len()])
}

fn use_font() -> Result<()> {
    static USED: OnceLock<bool> = OnceLock::new();
    match USED.get_or_init(|| register_font(FAMILY, FontStyle::Normal, FONT).is_ok()) {
        true => Ok(()),
        false => Err(anyhow!("the font of this program's charts cannot be read")),
    }
}

/// From the lowest to the highest, with a little room.
fn range(extents: impl Iterator<Item = (f64, f64)>) -> Range<f64> {
    let (low, high) = extents
        .fold((f64::INFINITY, f64::NEG_INFINITY), |all, one| (all.0.min(one.0), all.1.max(one.1)));
    let span = high - low;
    let room = if span > 0.0 { 0.06 * span } else { 0.5 * low.abs().max(1e-3) };
    low - room..high + room
}

/// Digits by which the marks of an axis differ.
fn decimals(range: &Range<f64>) -> usize {
    let step = (range.end - range.start) / 8.0;
    (-step.log10()).ceil().clamp(0.0, 8.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<Point>) -> Chart {
        Chart {
            title: "Gain".into(),
            x: "D (nats)".into(),
            y: "points of top-1 accuracy (%)".into(),
            series: vec![
                Series { name: "convnext".into(), points },
                Series {
                    name: "resmlp".into(),
                    points: vec![Point { x: 0.2, ..Point::default() }],
                },
            ],
            joined: true,
        }
    }

    #[test]
    fn a_chart_is_written_with_its_labels_and_is_not_empty() {
        let folder = tempfile::tempdir().unwrap();
        let points = [(0.1, 2.0), (0.3, 5.0)].map(|(x, y)| Point { x, y, ..Point::default() });
        let [svg, png] = chart(points.to_vec()).write(folder.path(), "gain").unwrap();
        let svg = std::fs::read_to_string(svg).unwrap();
        for label in ["Gain", "D (nats)", "points of top-1 accuracy (%)", "convnext", "resmlp"] {
            assert!(svg.contains(label), "{label} is missing");
        }
        let png = std::fs::read(png).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let of = |colour: RGBColor| {
            pixels.chunks(3).filter(|pixel| *pixel == [colour.0, colour.1, colour.2]).count()
        };
        // Lines and markers of both series; the text is there, too.
        assert!(of(COLOURS[0]) > 300 && of(COLOURS[1]) > 100 && of(INK) > 500);
        assert!(of(WHITE) < pixels.len() / 3);
    }

    #[test]
    fn a_single_point_has_axes_and_no_point_is_an_error() {
        let mut alone = chart(vec![Point { x: 1.0, y: 1.0, ..Point::default() }]);
        alone.series.truncate(1);
        alone.png().unwrap();
        alone.series[0].points.clear();
        assert!(alone.svg().unwrap_err().to_string().contains("no point"));
    }

    #[test]
    fn marks_differ_by_the_digits_that_are_shown() {
        for (range, digits) in [(0.0..80.0, 0), (0.0..1.0, 1), (0.071..0.073, 4)] {
            assert_eq!(decimals(&range), digits, "{range:?}");
        }
    }
}
