//! Lines and bars in a diagram, as SVG.

use std::path::{Path, PathBuf};

use plotters::prelude::*;

/// What a diagram shows: both axes grow by factors, so that a line that goes straight up doubles where its cause does.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) lines: &'a [(String, Vec<(f64, f64)>)],
}

/// Colours that differ for the colour-blind too.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// Where a picture is kept: in `benches/` of the sources.
fn kept(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(file)
}

impl Plot<'_> {
    /// Writes it to `benches/` of the sources.
    pub(crate) fn write(&self, file: &str) {
        let path = kept(file);
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let range = |of: fn(&(f64, f64)) -> f64| {
            let values = points().map(of);
            values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)))
        };
        let ((left, right), (low, high)) = (range(|point| point.0), range(|point| point.1));
        // Above the lines there is room for their names.
        let top = high * 2.0 * (high / low).powf(0.13 * self.lines.len() as f64);
        let area = SVGBackend::new(&path, (760, 420)).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            // The last figure of the axis stands half outside.
            .margin_right(40)
            .x_label_area_size(42)
            .y_label_area_size(72)
            .build_cartesian_2d((left..right).log_scale(), (low / 2.0..top).log_scale())
            .unwrap();
        let figure = |value: &f64| value.to_string();
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(WHITE.mix(0.0)).x_desc(self.x).y_desc(self.y);
        mesh.x_label_formatter(&figure).y_label_formatter(&figure).draw().unwrap();
        for ((name, points), colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3);
            let drawn = chart.draw_series(line).unwrap().label(name);
            drawn.legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        let mut labels = chart.configure_series_labels();
        labels.background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.3));
        labels.position(SeriesLabelPosition::UpperLeft).draw().unwrap();
        area.present().unwrap();
        println!("  drawn: {}", path.display());
    }
}

/// Groups of bars beside each other, one colour each; they begin at half the least value, since values grow by factors.
pub(crate) struct Bars<'a> {
    pub(crate) title: &'a str,
    pub(crate) y: &'a str,
    /// What each bar of a group stands for.
    pub(crate) bars: &'a [&'a str],
    /// What each group stands for, and its values.
    pub(crate) groups: &'a [(&'a str, Vec<f64>)],
}

impl Bars<'_> {
    /// Writes them to `benches/` of the sources.
    pub(crate) fn write(&self, file: &str) {
        let path = kept(file);
        let values = || self.groups.iter().flat_map(|(_, values)| values).copied();
        let (low, high) = (values().fold(f64::MAX, f64::min) / 2.0, values().fold(0.0, f64::max) * 4.0);
        // One place is left free between two groups.
        let group = self.bars.len() as f64 + 1.0;
        let area = SVGBackend::new(&path, (760, 420)).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..group * self.groups.len() as f64, (low / 2.0..high).log_scale())
            .unwrap();
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(WHITE.mix(0.0))
            .y_desc(self.y)
            .draw()
            .unwrap();
        for ((at, name), colour) in self.bars.iter().enumerate().zip(COLOURS) {
            let left = |number: usize| number as f64 * group + at as f64 + 0.5;
            let bars = self.groups.iter().enumerate().map(|(number, (_, values))| {
                Rectangle::new([(left(number), low), (left(number) + 0.9, values[at])], colour.filled())
            });
            let drawn = chart.draw_series(bars).unwrap().label(*name);
            drawn.legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
            let figures = self.groups.iter().enumerate().map(|(number, (_, values))| {
                Text::new(format!("{:.1}", values[at]), (left(number) + 0.1, values[at] * 1.25), ("sans-serif", 13))
            });
            chart.draw_series(figures).unwrap();
        }
        let names = self.groups.iter().enumerate().map(|(number, (name, _))| {
            Text::new((*name).to_owned(), (number as f64 * group + 0.5, low * 0.85), ("sans-serif", 14))
        });
        chart.draw_series(names).unwrap();
        let mut labels = chart.configure_series_labels();
        labels.background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.3));
        labels.position(SeriesLabelPosition::UpperLeft).draw().unwrap();
        area.present().unwrap();
        println!("  drawn: {}", path.display());
    }
}
